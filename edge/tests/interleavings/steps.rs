//! What can happen, and how often.

use proptest::{prelude::*, sample::select};

#[derive(Debug, Clone)]
pub(crate) enum Step {
    Say {
        conversation: u8,
        member: bool,
    },
    SayAgain,
    /// An author changes a message, perhaps one that is long done with.
    Edit {
        message: usize,
    },
    Delete {
        message: usize,
    },
    /// A runner waits for work, and a message comes.
    Offer {
        runner: usize,
        conversation: u8,
        member: bool,
    },
    Poll {
        runner: usize,
    },
    /// All leases run out.
    Outage,
    Tick,
    /// A runner does something with one of the leases it believes in.
    Act {
        runner: usize,
        lease: usize,
        act: Act,
    },
    Person {
        run: usize,
        deed: Deed,
    },
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Act {
    Answer,
    TakeIn,
    Complete,
    Fail,
    Park,
    Release,
    Ask,
    Pause,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Deed {
    Cancel,
    Pause,
    Resume,
    Answer,
}

pub(crate) fn any_step() -> impl Strategy<Value = Step> {
    let act = select(vec![
        Act::Answer,
        Act::TakeIn,
        Act::TakeIn,
        Act::Complete,
        Act::Complete,
        Act::Fail,
        Act::Park,
        Act::Release,
        Act::Ask,
        Act::Pause,
    ]);
    let deed = select(vec![Deed::Cancel, Deed::Pause, Deed::Resume, Deed::Answer]);
    prop_oneof![
        4 => (0..2_u8, any::<bool>()).prop_map(|(conversation, member)| Step::Say { conversation, member }),
        1 => Just(Step::SayAgain),
        2 => (0..12_usize).prop_map(|message| Step::Edit { message }),
        1 => (0..12_usize).prop_map(|message| Step::Delete { message }),
        2 => (0..2_usize, 0..2_u8, any::<bool>())
            .prop_map(|(runner, conversation, member)| Step::Offer { runner, conversation, member }),
        4 => (0..2_usize).prop_map(|runner| Step::Poll { runner }),
        1 => Just(Step::Outage),
        1 => Just(Step::Tick),
        8 => (0..2_usize, 0..4_usize, act).prop_map(|(runner, lease, act)| Step::Act { runner, lease, act }),
        2 => (0..6_usize, deed).prop_map(|(run, deed)| Step::Person { run, deed }),
    ]
}
