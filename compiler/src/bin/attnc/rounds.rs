//! Times of several contestants, taken in turns: what slows the machine down for a while slows all of them down.

use std::time::{Duration, Instant};

use clap::ValueEnum;

use crate::exit::{Outcome, Stop};

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Clock {
    /// The time that passes
    Wall,
    /// The time of the processor, on a machine that is busy; one thread
    Cpu,
}

/// The times of one contestant for one call, shortest first, in seconds.
#[derive(Debug, Clone)]
pub(crate) struct Times(Vec<f64>);

/// Someone who does one thing again and again.
pub(crate) enum Contestant<'a> {
    /// Does it once, on this machine.
    Here(Box<dyn FnMut() -> Result<(), String> + 'a>),
    /// Does it so many times, elsewhere; the seconds of one, by the clock there.
    Elsewhere(Box<dyn FnMut(u32) -> Result<f64, String> + 'a>),
}

/// What one sample takes at least.
const SAMPLE: f64 = 0.002;

/// The times of each contestant in so many rounds, each of which has every contestant once, forwards and backwards in
/// turn. `done` hears of each round.
pub(crate) fn interleaved(
    contestants: &mut [Contestant<'_>],
    rounds: u32,
    clock: Clock,
    mut done: impl FnMut(),
) -> Outcome<Vec<Times>> {
    if clock == Clock::Cpu && !cfg!(unix) {
        return Err(Stop::refused(
            "the time of the processor is not known on this system: use `--clock wall`",
        ));
    }
    // The first call finds nothing in the caches and its pages not yet there; the second tells how many make a sample.
    let mut repeats = Vec::new();
    for it in contestants.iter_mut() {
        sample(it, 1, clock)?;
        let once = sample(it, 1, clock)?;
        repeats.push((SAMPLE / once.max(1e-9)).ceil().clamp(1.0, 100_000.0) as u32);
    }
    let mut times = vec![Vec::new(); contestants.len()];
    for round in 0..rounds {
        for turn in 0..contestants.len() {
            let at = if round % 2 == 0 { turn } else { contestants.len() - 1 - turn };
            times[at].push(sample(&mut contestants[at], repeats[at], clock)?);
        }
        done();
    }
    Ok(times.into_iter().map(Times::of).collect())
}

/// The time of one call, of so many.
fn sample(contestant: &mut Contestant<'_>, repeats: u32, clock: Clock) -> Outcome<f64> {
    match contestant {
        Contestant::Here(act) => {
            let start = now(clock);
            for _ in 0..repeats {
                act().map_err(Stop::refused)?;
            }
            Ok((now(clock).saturating_sub(start)).as_secs_f64() / f64::from(repeats))
        }
        Contestant::Elsewhere(act) => act(repeats).map_err(Stop::refused),
    }
}

/// How far a clock has come.
fn now(clock: Clock) -> Duration {
    match clock {
        Clock::Wall => {
            static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
            START.get_or_init(Instant::now).elapsed()
        }
        Clock::Cpu => processor_time(),
    }
}

#[cfg(unix)]
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Nobody asks: [`interleaved`] refuses.
#[cfg(not(unix))]
fn processor_time() -> Duration {
    Duration::ZERO
}

impl Times {
    fn of(mut times: Vec<f64>) -> Times {
        times.sort_by(f64::total_cmp);
        Times(times)
    }

    /// The shortest.
    pub(crate) fn best(&self) -> f64 {
        self.quantile(0.0)
    }

    /// The middle one.
    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The ones a quarter and three quarters of the way.
    pub(crate) fn quartiles(&self) -> [f64; 2] {
        [self.quantile(0.25), self.quantile(0.75)]
    }

    /// The one at that share of the way; NaN if there is none.
    fn quantile(&self, share: f64) -> f64 {
        let last = self.0.len().saturating_sub(1) as f64;
        let (below, above) = ((share * last).floor() as usize, (share * last).ceil() as usize);
        let at = |it: usize| self.0.get(it).copied().unwrap_or(f64::NAN);
        at(below) + (share * last).fract() * (at(above) - at(below))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_lie_between() {
        let times = Times::of(vec![4.0, 1.0, 3.0, 2.0, 5.0]);
        assert_eq!((times.best(), times.median(), times.quartiles()), (1.0, 3.0, [2.0, 4.0]));
        assert_eq!(Times::of(vec![1.0, 2.0]).median(), 1.5);
    }

    #[test]
    fn everyone_has_a_turn_in_each_round() {
        let (mut here, mut elsewhere, mut rounds) = (0, Vec::new(), 0);
        let mut contestants = vec![
            Contestant::Here(Box::new(|| {
                here += 1;
                std::thread::sleep(Duration::from_millis(3));
                Ok(())
            })),
            Contestant::Elsewhere(Box::new(|repeats| {
                elsewhere.push(repeats);
                Ok(0.0005)
            })),
        ];
        let times = interleaved(&mut contestants, 3, Clock::Wall, || rounds += 1).unwrap();
        drop(contestants);
        assert_eq!((here, elsewhere, rounds, times.len()), (5, vec![1, 1, 4, 4, 4], 3, 2));
        assert!(times[0].best() > 0.002 && times[0].quartiles()[1] >= times[0].median());
        assert_eq!(times[1].median(), 0.0005);
    }
}
