//! Whether the demo kept its promise.

use super::{
    script,
    timeline::{Happening, Moment},
};
use crate::cli::Failure;

/// Whether the run completed, whichever model drove it.
pub(super) fn ended_well(moments: &[Moment]) -> Result<(), Failure> {
    let end = moments.iter().find_map(|moment| match &moment.what {
        Happening::Ended { phase, reason } => Some((phase.as_str(), reason.as_deref())),
        _ => None,
    });
    match end {
        Some(("completed", _)) => Ok(()),
        Some((phase, reason)) => Err(Failure::failed(
            "demo_failed",
            format!("the run {phase}: {}", reason.unwrap_or("see above")),
        )),
        None => Err(not_as_promised("the run did not end")),
    }
}

/// Whether the scripted work was really done: tests failed, then passed, and the reply is there.
pub(super) fn as_scripted(moments: &[Moment]) -> Result<(), Failure> {
    let outputs: Vec<&str> = moments
        .iter()
        .filter_map(|moment| match &moment.what {
            Happening::Result { output, .. } => Some(output.as_str()),
            _ => None,
        })
        .collect();
    let failed = outputs.iter().position(|output| output.contains(script::FAILED));
    let passed = outputs.iter().rposition(|output| script::passed(output));
    let acknowledged = moments
        .iter()
        .any(|moment| matches!(moment.what, Happening::Acknowledged { .. }));
    let replied = moments
        .iter()
        .any(|moment| matches!(&moment.what, Happening::Reply { text } if text.starts_with("Found it")));
    let (Some(failed), Some(passed)) = (failed, passed) else {
        return Err(not_as_promised(
            "the tests did not fail first and pass in the end",
        ));
    };
    if passed <= failed {
        return Err(not_as_promised("the tests did not pass after the change"));
    }
    if !acknowledged {
        return Err(not_as_promised("the comment was not acknowledged with 👀"));
    }
    if !replied {
        return Err(not_as_promised(
            "the reply is not the one that tells what was done",
        ));
    }
    Ok(())
}

fn not_as_promised(what: &str) -> Failure {
    Failure::failed(
        "demo_failed",
        format!("the demo did not go as promised: {what}; see above"),
    )
}
