//! One at a time: many requests ask for the same follow-up work; one does it, once more if somebody asked meanwhile.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

type Asked = Arc<Mutex<HashMap<Arc<str>, u64>>>;

/// Who is at work, by workspace, and how often it was asked for.
#[derive(Default)]
pub(crate) struct AtATime(Asked);

/// The right to work, given back when dropped: a host may drop background work at any time.
pub(crate) struct Turn {
    asked: Asked,
    workspace: Arc<str>,
    seen: u64,
}

impl AtATime {
    /// Asks for the work; the turn if nobody is at it, nothing if somebody is and will do it once more.
    pub(crate) fn begin(&self, workspace: &str) -> Option<Turn> {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(times) = asked.get_mut(workspace) {
            *times += 1;
            return None;
        }
        let workspace: Arc<str> = workspace.into();
        asked.insert(workspace.clone(), 1);
        Some(Turn {
            asked: self.0.clone(),
            workspace,
            seen: 0,
        })
    }
}

impl Turn {
    /// Whether there is work that was asked for since the last call; when there is none the turn is over.
    pub(crate) fn again(&mut self) -> bool {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let times = asked.get(&self.workspace).copied().unwrap_or_default();
        if times == self.seen {
            asked.remove(&self.workspace);
            return false;
        }
        self.seen = times;
        true
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.remove(&self.workspace);
    }
}

#[cfg(test)]
mod tests {
    use super::AtATime;

    #[test]
    fn whoever_asks_meanwhile_makes_it_happen_once_more() {
        let gate = AtATime::default();
        let mut turn = gate.begin("main").unwrap();
        assert!(turn.again());
        assert!(gate.begin("main").is_none() && gate.begin("main").is_none());
        assert!(gate.begin("other").is_some());
        assert!(turn.again() && !turn.again());
        let dropped = gate.begin("main").unwrap();
        drop(dropped);
        assert!(gate.begin("main").is_some());
    }
}
