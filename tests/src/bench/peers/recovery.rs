//! The row `recovery`: a runner is killed in the middle of an answer; how long until the model is asked again, by another.

use std::time::{Duration, Instant};

use roost_runner::standin::model::{ModelServer, Script, Turn};

use super::{
    attempt::{Contender, Effort, compare},
    report::{Kind, Row, Sample},
};
use crate::bench::{crew::Crew, subject::Subject};

const KILLS: u32 = 25;
/// No kill is begun after so long: where deaths are noticed late there are fewer.
const SPAN: Duration = Duration::from_secs(75);
const PATIENCE: Duration = Duration::from_secs(45);
const PER_TOKEN: Duration = Duration::from_millis(20);
/// An answer of so many tokens is long enough to be killed in.
const TOKENS: usize = 40;
const EFFORT: Effort = Effort {
    times: 1,
    each: Duration::from_secs(150),
    all: Duration::from_secs(150),
};

const P50: Kind = Kind::less("p50 ms");
const P99: Kind = Kind::less("p99 ms");
const COUNT: Kind = Kind::more("kills");
const LOST: Kind = Kind::less("runs lost");
const REPEATED: Kind = Kind::less("model calls beyond the one that was torn");

pub(super) async fn row() -> Row {
    let contenders = vec![Contender::new("Roost, native, embedded libSQL", once)];
    Row {
        name: "recovery",
        question: "Two runners; the one that has a run is killed with -9 while the model speaks to it: how long until the other has taken \
                   the run over and the model is asked again?",
        entries: compare(contenders, EFFORT).await,
        notes: &[
            "By their documentation, a job of a killed BullMQ worker is looked for after its lock of 30 s, and one of a killed \
             graphile-worker after four hours; that is not measured here.",
        ],
        picture: None,
    }
}

async fn once() -> Result<Sample, String> {
    let subject = Subject::start().await;
    let words = "word ".repeat(TOKENS);
    let model = ModelServer::start(Script::by(move |_| Turn::say(words.clone()))).await;
    let model = model.expect("a model");
    model.set_pace(PER_TOKEN);
    let start = async |number: u32| {
        let name = format!("runner-{number}");
        let crew = Crew::start(&name, 4, &subject.address, &subject.office, &model.url()).await;
        (name, crew)
    };
    let mut runners = vec![start(0).await, start(1).await];
    let (mut took, began) = (Vec::new(), Instant::now());
    let mut asked = 0;
    for number in 1..=KILLS {
        if began.elapsed() > SPAN {
            break;
        }
        subject.say(number..number + 1, "@roost hello").await;
        asked += 1;
        received(&model, asked).await?;
        // Each kill meets the answer somewhere else.
        tokio::time::sleep(PER_TOKEN * (number % 20)).await;
        let holder = holder(&subject).await.ok_or("nobody has the run")?;
        let place = runners.iter().position(|(name, _)| *name == holder);
        let (_, mut dead) = runners.swap_remove(place.ok_or("a stranger has the run")?);
        let killed = Instant::now();
        dead.kill();
        asked += 1;
        received(&model, asked).await?;
        took.push(killed.elapsed());
        runners.push(start(number + 1).await);
        until_over(&subject).await?;
    }
    took.sort_unstable();
    let kills = u32::try_from(took.len()).expect("small");
    let at = |share: f64| took[((took.len() - 1) as f64 * share).round() as usize].as_secs_f64() * 1e3;
    let completed = subject.office.count(COMPLETED).await;
    Ok(vec![
        (P50, at(0.5)),
        (P99, at(0.99)),
        (COUNT, f64::from(kills)),
        (LOST, f64::from(kills) - completed as f64),
        (REPEATED, (model.requests().len() - 2 * took.len()) as f64),
    ])
}

const COMPLETED: &str = "SELECT count(*) FROM runs WHERE workspace_id = ?1 AND phase = 'completed'";
const OPEN: &str = "SELECT count(*) FROM runs WHERE workspace_id = ?1 AND phase <> 'completed'";

async fn holder(subject: &Subject) -> Option<String> {
    let sql = "SELECT runner FROM runs WHERE workspace_id = ?1 AND phase = 'running'";
    let rows = subject.office.scope.query(sql, []).await.ok()?;
    Some(rows.first()?.text(0).ok()?.to_owned())
}

async fn received(model: &ModelServer, count: usize) -> Result<(), String> {
    let asked = tokio::time::timeout(PATIENCE, model.received(count)).await;
    asked.map_err(|_| format!("the model was not asked within {} s", PATIENCE.as_secs()))
}

async fn until_over(subject: &Subject) -> Result<(), String> {
    let began = Instant::now();
    while subject.office.count(OPEN).await > 0 {
        if began.elapsed() > PATIENCE {
            return Err("a run was not completed".to_owned());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
