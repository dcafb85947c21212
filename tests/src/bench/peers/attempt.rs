//! One system, measured several times. Whatever goes wrong is the system's reason for having no number; the run goes on.

use std::{
    future::Future,
    panic,
    time::{Duration, Instant},
};

use futures::future::BoxFuture;

use super::report::{Entry, Sample, number};

/// A measurement that is begun gets at least so long.
const SHORTEST: Duration = Duration::from_secs(15);

/// A system by name, and how one repetition of its measurement is had.
pub(super) struct Contender {
    system: String,
    once: Box<dyn Fn() -> BoxFuture<'static, Result<Sample, String>> + Send>,
}

impl Contender {
    pub(super) fn new<F>(system: impl Into<String>, once: impl Fn() -> F + Send + 'static) -> Self
    where
        F: Future<Output = Result<Sample, String>> + Send + 'static,
    {
        Self {
            system: system.into(),
            once: Box::new(move || Box::pin(once())),
        }
    }
}

/// How often each system is measured, how long one measurement may take, and how long all of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Effort {
    pub(super) times: usize,
    pub(super) each: Duration,
    pub(super) all: Duration,
}

/// Measures systems in turns, so that what the machine does besides meets all of them, and says on standard error how it
/// goes. When the time is up there are fewer repetitions.
pub(super) async fn compare(contenders: Vec<Contender>, effort: Effort) -> Vec<Entry> {
    let until = Instant::now() + effort.all;
    let mut results: Vec<Result<Vec<Sample>, String>> = contenders.iter().map(|_| Ok(Vec::new())).collect();
    for time in 1..=effort.times {
        for (contender, result) in contenders.iter().zip(&mut results) {
            let (Ok(samples), left) = (&mut *result, until.saturating_duration_since(Instant::now())) else {
                continue;
            };
            if left.is_zero() {
                if samples.is_empty() {
                    *result = Err("the time was up".to_owned());
                }
                continue;
            }
            eprint!("  {} {time}/{} …", contender.system, effort.times);
            match guarded(effort.each.min(left.max(SHORTEST)), (contender.once)()).await {
                Ok(sample) => {
                    eprintln!(" {}", told(&sample));
                    samples.push(sample);
                }
                // The row's time was up, not this system's: what it has shown before stands.
                Err(_) if Instant::now() >= until && !samples.is_empty() => {
                    eprintln!(" the time was up");
                }
                Err(why) => {
                    eprintln!(" not run: {why}");
                    *result = Err(why);
                }
            }
        }
    }
    let systems = contenders.into_iter().map(|contender| contender.system);
    systems
        .zip(results)
        .map(|(system, result)| Entry::new(system, result))
        .collect()
}

fn told(sample: &Sample) -> String {
    let figures: Vec<String> = sample
        .iter()
        .map(|(kind, value)| format!("{} {}", kind.name, number(*value)))
        .collect();
    figures.join(" · ")
}

/// Runs something within its time; when it breaks, the reason.
pub(super) async fn guarded<T: Send + 'static>(
    limit: Duration,
    once: impl Future<Output = Result<T, String>> + Send + 'static,
) -> Result<T, String> {
    // A broken expectation ends the measurement, not the run, and its text is the reason.
    match tokio::spawn(tokio::time::timeout(limit, once)).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(format!("it took more than {} s", limit.as_secs())),
        Err(error) => Err(first_line(&reason(error))),
    }
}

fn reason(error: tokio::task::JoinError) -> String {
    let Ok(payload) = error.try_into_panic() else {
        return "it was cut short".to_owned();
    };
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => payload
            .downcast_ref::<&str>()
            .map_or_else(|| "a broken expectation".to_owned(), |text| (*text).to_owned()),
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().replace('|', "/")
}

/// Keeps what breaks from being printed twice: it is told as a reason.
pub(super) fn quietly() {
    panic::set_hook(Box::new(|_| {}));
}

#[cfg(test)]
mod tests {
    use super::super::report::{Kind, Outcome};
    use super::*;

    #[tokio::test]
    async fn what_breaks_or_hangs_is_told_and_the_others_go_on() {
        let effort = Effort {
            times: 2,
            each: Duration::from_millis(50),
            all: Duration::from_secs(60),
        };
        let contenders = vec![
            Contender::new("broken", || async { panic!("three of 4 were lost\nmore") }),
            Contender::new("hung", std::future::pending),
            Contender::new("good", || async { Ok(vec![(Kind::more("x"), 1.0)]) }),
        ];
        let entries = compare(contenders, effort).await;
        let [broken, hung, good] = entries.as_slice() else {
            panic!("{entries:?}")
        };
        assert!(matches!(&broken.result, Outcome::NotRun(why) if why == "three of 4 were lost"));
        assert!(matches!(&hung.result, Outcome::NotRun(why) if why.contains("more than")));
        assert!(matches!(&good.result, Outcome::Figures(figures) if figures[0].values == [1.0, 1.0]));
    }

    #[tokio::test]
    async fn nothing_is_begun_when_the_time_is_up() {
        let effort = Effort {
            times: 3,
            each: Duration::from_secs(1),
            all: Duration::ZERO,
        };
        let entries = compare(vec![Contender::new("late", || async { Ok(Vec::new()) })], effort).await;
        assert!(matches!(&entries[0].result, Outcome::NotRun(why) if why == "the time was up"));
    }
}
