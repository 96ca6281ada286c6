//! How many files a program may have open. Each client takes several, and what cannot be opened is a
//! client's connection that is refused, or lost where another process should have got it.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Allows this process and those that it starts as many as the system's hard limit does; the soft one,
/// mostly 1,024, is for programs that use `select(2)`.
///
/// # Errors
/// What the operating system says.
pub fn allow_all() -> io::Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_soft_limit_is_raised_to_the_hard_one() {
        let maximum = getrlimit(Resource::Nofile).maximum;
        setrlimit(Resource::Nofile, Rlimit { current: Some(64), maximum }).unwrap();
        allow_all().unwrap();
        assert_eq!(getrlimit(Resource::Nofile).current, maximum);
    }
}
