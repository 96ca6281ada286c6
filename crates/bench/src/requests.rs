//! The requests of a client in the order of time: what it had before, during and across a cutover.

use crate::statistics::percentile;

/// Length of a step of [`series`], in seconds.
pub(crate) const STEP: f64 = 0.1;

/// A request that has ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Finished {
    /// When, in Unix seconds.
    pub end: f64,
    /// How long it took, in milliseconds.
    pub took_ms: f64,
}

/// A span of time, in Unix seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Span {
    pub(crate) start: f64,
    pub(crate) end: f64,
}

/// What a client had in a span of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Window {
    pub(crate) iops: f64,
    pub(crate) p99_ms: f64,
    pub(crate) longest_ms: f64,
}

impl Span {
    pub(crate) fn seconds(&self) -> f64 {
        self.end - self.start
    }

    /// The span of the same length right before `end`.
    pub(crate) fn ending_at(&self, end: f64) -> Self {
        Self { start: end - self.seconds(), end }
    }

    fn overlaps(&self, request: &Finished) -> bool {
        request.end >= self.start && request.end - request.took_ms / 1e3 <= self.end
    }
}

/// The requests that ended in the span.
pub(crate) fn window(requests: &[Finished], span: Span) -> Window {
    let inside = requests.iter().filter(|r| r.end >= span.start && r.end < span.end);
    let mut times: Vec<f64> = inside.map(|request| request.took_ms).collect();
    Window {
        iops: times.len() as f64 / span.seconds().max(f64::MIN_POSITIVE),
        p99_ms: percentile(&mut times, 0.99).unwrap_or(0.0),
        longest_ms: times.last().copied().unwrap_or(0.0),
    }
}

/// Requests a second in the worst whole second of the span; in all of it where it is shorter.
pub(crate) fn worst_second(requests: &[Finished], span: Span) -> f64 {
    let seconds = span.seconds().floor() as u32;
    (0..seconds)
        .map(|second| span.start + f64::from(second))
        .map(|start| window(requests, Span { start, end: start + 1.0 }).iops)
        .min_by(f64::total_cmp)
        .unwrap_or_else(|| window(requests, span).iops)
}

/// Times of the requests of which some part lies in the span, in milliseconds.
pub(crate) fn overlapping(requests: &[Finished], span: Span) -> Vec<f64> {
    requests.iter().filter(|request| span.overlaps(request)).map(|r| r.took_ms).collect()
}

/// Requests a second in steps of [`STEP`].
pub(crate) fn series(requests: &[Finished], span: Span) -> Vec<f64> {
    let mut steps = vec![0.0; (span.seconds() / STEP).ceil() as usize];
    for request in requests.iter().filter(|request| request.end >= span.start) {
        if let Some(step) = steps.get_mut(((request.end - span.start) / STEP) as usize) {
            *step += 1.0 / STEP;
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four requests a second, of 1 ms, 2 ms, ... from `start`.
    fn steady(start: f64, count: u32) -> Vec<Finished> {
        let request = |n| Finished { end: start + f64::from(n) / 4.0, took_ms: f64::from(n + 1) };
        (0..count).map(request).collect()
    }

    #[test]
    fn a_window_has_the_requests_that_ended_in_it() {
        let requests = steady(100.0, 8);
        let window = window(&requests, Span { start: 100.0, end: 101.0 });
        assert_eq!(window, Window { iops: 4.0, p99_ms: 4.0, longest_ms: 4.0 });
    }

    #[test]
    fn the_worst_second_is_one_of_the_whole_ones() {
        let mut requests = steady(100.0, 12);
        requests.retain(|request| !(101.0..101.7).contains(&request.end));
        assert!((worst_second(&requests, Span { start: 100.0, end: 103.0 }) - 1.0).abs() < 1e-9);
        let short = worst_second(&requests, Span { start: 100.0, end: 100.5 });
        assert!((short - 4.0).abs() < 1e-9, "a short span is taken whole: {short}");
    }

    #[test]
    fn a_request_overlaps_a_span_that_it_began_before_the_end_of() {
        let request = |end, took_ms| Finished { end, took_ms };
        let requests =
            [request(9.9, 50.0), request(10.0, 1.0), request(10.2, 150.0), request(10.2, 99.0)];
        assert_eq!(overlapping(&requests, Span { start: 10.0, end: 10.1 }), [1.0, 150.0]);
    }

    #[test]
    fn a_series_counts_by_the_second() {
        let series = series(&steady(100.0, 4), Span { start: 100.0, end: 100.6 });
        assert_eq!(series, [10.0, 0.0, 10.0, 0.0, 0.0, 10.0]);
    }
}
