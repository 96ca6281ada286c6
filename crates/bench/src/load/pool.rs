//! Many connections on one thread: each is served when it has something to say.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

use super::Course;
use super::connection::Connection;

/// Connections that are looked at after one wait.
const EVENTS_MAX: usize = 256;
/// Longest wait: so soon an end is noticed.
const WAIT: Duration = Duration::from_millis(20);
/// Longest wait where requests become due by the clock.
const WAIT_DUE: Duration = Duration::from_micros(200);

pub(super) struct Pool {
    connections: Vec<Connection>,
    epoll: OwnedFd,
}

impl Pool {
    pub(super) fn new(connections: Vec<Connection>) -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (index, connection) in connections.iter().enumerate() {
            connection.stream().set_nonblocking(true)?;
            let data = epoll::EventData::new_u64(index as u64);
            epoll::add(&epoll, connection.stream(), data, epoll::EventFlags::IN)?;
        }
        Ok(Self { connections, epoll })
    }

    /// Answered requests, by connection.
    pub(super) fn run(mut self, course: &mut Course, stop: &AtomicBool) -> Result<Vec<u64>> {
        let mut events = Vec::with_capacity(EVENTS_MAX);
        let mut turn = 0;
        loop {
            let stopped = stop.load(Ordering::Relaxed);
            // Where requests become due by the clock the connections take turns at them.
            if course.rate.is_some() || turn == 0 {
                for offset in 0..self.connections.len() {
                    let index = (turn + offset) % self.connections.len();
                    self.go_on(index, course, stopped)?;
                }
            }
            turn += 1;
            if (stopped || course.is_over()) && self.connections.iter().all(Connection::is_idle) {
                break;
            }
            self.wait(&mut events, course)?;
            for index in events.drain(..).map(|event: epoll::Event| event.data.u64() as usize) {
                self.connections[index].receive(course)?;
                self.go_on(index, course, stopped)?;
            }
        }
        self.connections.iter_mut().for_each(Connection::leave);
        Ok(self.connections.iter().map(|connection| connection.answered).collect())
    }

    fn go_on(&mut self, index: usize, course: &mut Course, stopped: bool) -> Result<()> {
        let connection = &mut self.connections[index];
        let was_sending = connection.is_sending();
        connection.begin(course, stopped);
        connection.send()?;
        if connection.is_sending() != was_sending {
            let wanted =
                if was_sending { epoll::EventFlags::empty() } else { epoll::EventFlags::OUT };
            let data = epoll::EventData::new_u64(index as u64);
            epoll::modify(&self.epoll, connection.stream(), data, wanted | epoll::EventFlags::IN)?;
        }
        Ok(())
    }

    fn wait(&self, events: &mut Vec<epoll::Event>, course: &Course) -> Result<()> {
        let longest = if course.rate.is_some() { WAIT_DUE } else { WAIT };
        let longest = Timespec::try_from(longest)?;
        match epoll::wait(&self.epoll, spare_capacity(events), Some(&longest)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
