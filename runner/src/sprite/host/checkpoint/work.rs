//! What is done to take, restore and drop a checkpoint. Everything here blocks.
//!
//! Invariant: a restore is written down before it changes anything and done again until it has come to its end, so a host
//! that dies in the middle leaves a sprite that its next start finishes.

use std::{collections::BTreeSet, io, path::Path};

use jiff::Timestamp;
use rustix::fs::syncfs;

use super::{
    CheckpointError,
    apply::{Apply, Done},
    capture::{Capture, Found, ManifestReader, SETTLED, Trust, is_too_much},
    info::Info,
    room::Used,
    still::Still,
    sweep::sweep,
    vault::{Build, Intent, Vault},
};
use crate::sprite::host::Limits;

/// How many restores a sprite remembers.
const MAX_HISTORY: usize = 256;

/// Why a checkpoint is taken.
#[derive(Debug, Clone)]
pub(in crate::sprite::host) enum Reason {
    /// Somebody asked for it, perhaps with a comment.
    Asked(Option<String>),
    /// The host is about to do something that may have to be undone.
    Before(String),
}

/// What a sprite's checkpoints may be and take.
#[derive(Debug, Clone)]
pub(super) struct Bounds {
    pub(super) limits: Limits,
    pub(super) used: Used,
}

impl Bounds {
    /// What is left of the room, in bytes.
    pub(super) fn room(&self, home: &Path) -> io::Result<u64> {
        self.used.left(home, self.limits.checkpoint_bytes)
    }

    fn vault(&self, home: &Path) -> io::Result<Vault> {
        Ok(Vault::create(home)?.with_room(self.room(home)?))
    }
}

/// What is copied at most while a sprite stands still, in bytes, before it goes on and most is copied ahead.
const AT_ONCE_BYTES: u64 = 32 << 20;

/// Takes a checkpoint. `still` keeps the sprite's files as they are, until it is dropped; `None` if there is more to copy
/// than it should stand still for.
pub(super) fn take_at_once(
    home: &Path,
    reason: &Reason,
    bounds: &Bounds,
    still: Still,
) -> Result<Option<(Info, Found)>, CheckpointError> {
    match take(home, reason, bounds, still, Some(AT_ONCE_BYTES)) {
        Err(CheckpointError::Storage(error)) if is_too_much(&error) => Ok(None),
        taken => taken.map(Some),
    }
}

/// Copies what there is to copy while the sprite goes on, so that less is left to copy when it stands still.
pub(super) fn copy_ahead(home: &Path, bounds: &Bounds, still: Still) -> Result<(), CheckpointError> {
    let vault = bounds.vault(home)?;
    let mapped = still.shared_mappings();
    let mut still = Some(still);
    // Until the walk begins: from then on a change shows.
    let build = capture_with(&vault, &mapped, None, || drop(still.take()));
    let adopted = build.and_then(|(build, _)| {
        bounds.used.add(build.objects.bytes);
        vault.adopt(build)
    });
    Ok(adopted.inspect_err(|_| give_up(&vault, &bounds.used))?)
}

/// Takes a checkpoint, however much has to be copied if there is no `most`.
pub(super) fn take(
    home: &Path,
    reason: &Reason,
    bounds: &Bounds,
    still: Still,
    most: Option<u64>,
) -> Result<(Info, Found), CheckpointError> {
    let vault = bounds.vault(home)?;
    if let Reason::Asked(_) = reason {
        let limit = bounds.limits.checkpoints;
        if vault.list()?.iter().filter(|info| !info.is_auto).count() >= limit {
            return Err(CheckpointError::Limit { limit });
        }
    }
    let mapped = still.shared_mappings();
    let captured = capture_with(&vault, &mapped, most, || {});
    drop(still);
    let taken = captured.and_then(|captured| {
        bounds.used.add(captured.0.objects.bytes);
        keep(&vault, captured, reason.clone())
    });
    let taken = taken.inspect_err(|_| give_up(&vault, &bounds.used))?;
    prune(&vault, bounds)?;
    Ok(taken)
}

/// Frees what was copied in vain: most likely the disk is full.
fn give_up(vault: &Vault, used: &Used) {
    used.forget();
    if let Err(error) = vault.discard_unfinished() {
        tracing::warn!(%error, "what is left of a checkpoint could not be removed; the next one removes it");
    }
}

/// Walks the tree into a new build.
pub(super) fn capture(vault: &Vault, mapped: &BTreeSet<u64>) -> io::Result<(Build, Found)> {
    capture_with(vault, mapped, None, || {})
}

/// The same; copies at most about `most` bytes, and says when it begins.
pub(super) fn capture_with(
    vault: &Vault,
    mapped: &BTreeSet<u64>,
    most: Option<u64>,
    mut begins: impl FnMut(),
) -> io::Result<(Build, Found)> {
    let mut walk = |base: Option<ManifestReader>| -> io::Result<_> {
        let mut build = vault.begin(most)?;
        let base = base.map(|base| (base, Trust::Earlier));
        let out = build.manifest.try_clone()?;
        let walk = Capture::new(vault.home(), base, out, Some(&mut build.objects), mapped)?;
        begins();
        let (_, found) = walk.run()?;
        Ok((build, found))
    };
    match walk(vault.base()) {
        // The base turned out to be damaged; without it everything counts as changed.
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            tracing::warn!(%error, "the last known state of a sprite can't be read: its files are copied anew");
            walk(None)
        }
        done => done,
    }
}

/// Makes what was captured a checkpoint.
pub(super) fn keep(
    vault: &Vault,
    (build, found): (Build, Found),
    reason: Reason,
) -> io::Result<(Info, Found)> {
    let mut state = vault.state()?;
    let all = vault.list()?;
    // A host that died after a checkpoint appeared may not have counted it.
    state.serial = all
        .iter()
        .map(|info| info.serial)
        .max()
        .unwrap_or(0)
        .max(state.serial)
        + 1;
    let (comment, is_auto) = match reason {
        Reason::Asked(comment) => (comment, false),
        Reason::Before(what) => (Some(format!("before {what}")), true),
    };
    let last = if is_auto {
        &mut state.last_auto
    } else {
        &mut state.last
    };
    let id = loop {
        *last += 1;
        let id = Info::id_of(*last, is_auto);
        if all.iter().all(|info| info.id != id) {
            break id;
        }
    };
    let mut info = Info {
        id: id.clone(),
        serial: state.serial,
        create_time: Timestamp::now().to_string(),
        comment,
        is_auto,
        source_id: state.parent.replace(id),
        history: state.history.clone(),
        entries: found.entries,
        bytes: found.bytes,
        whole: true,
        ..Info::default()
    };
    vault.publish(build, &mut info, &state)?;
    Ok((info, found))
}

/// Keeps the state of a sprite in which nothing runs as an automatic checkpoint, and puts back another one.
pub(super) fn restore(home: &Path, id: &str, bounds: &Bounds) -> Result<Done, CheckpointError> {
    let vault = bounds.vault(home)?;
    let info = vault.get(id)?;
    let info = info.ok_or_else(|| CheckpointError::NotFound { id: id.to_owned() })?;
    // Read to its end before anything is changed.
    let whole = vault.manifest(id).and_then(|mut manifest| manifest.finish());
    if !info.whole || whole.is_err() {
        return Err(CheckpointError::Damaged { id: id.to_owned() });
    }
    // What it copies of the present state is counted with the next one.
    bounds.used.forget();
    let done = put_back(&vault, id).inspect_err(|_| give_up(&vault, &bounds.used))?;
    prune(&vault, bounds)?;
    Ok(done)
}

/// Keeps the state of a sprite in which nothing runs, and puts back a checkpoint that is whole.
pub(super) fn put_back(vault: &Vault, id: &str) -> io::Result<Done> {
    let captured = capture(vault, &BTreeSet::new())?;
    keep(vault, captured, Reason::Before(format!("restoring {id}")))?;
    let mut then = vault.state()?;
    then.history.push(format!("to={id};time={}", Timestamp::now()));
    let excess = then.history.len().saturating_sub(MAX_HISTORY);
    then.history.drain(..excess);
    then.parent = Some(id.to_owned());
    let intent = Intent {
        target: id.to_owned(),
        then,
    };
    vault.set_intent(&intent)?;
    carry_out(vault, &intent)
}

/// Does what the intent says, from wherever it was left.
fn carry_out(vault: &Vault, intent: &Intent) -> io::Result<Done> {
    let objects = vault.objects()?;
    let walk = |known| {
        let target = vault.manifest(&intent.target)?;
        Apply::new(vault.home(), &objects, known, target)?.run()
    };
    let done = match walk(vault.base()) {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => walk(None)?,
        done => done?,
    };
    if !done.nothing() {
        syncfs(vault.home())?;
        // What was just put back must not look as if it could have been changed since.
        std::thread::sleep(SETTLED);
    }
    let target = vault.manifest(&intent.target)?;
    let file = vault.begin_base()?;
    let (base, mapped) = (Some((target, Trust::Restored)), BTreeSet::new());
    Capture::new(vault.home(), base, &file, None, &mapped)?.run()?;
    vault.finish_base(&file)?;
    vault.set_state(&intent.then)?;
    vault.clear_intent()?;
    Ok(done)
}

/// Takes out a checkpoint and frees what only it needed.
pub(super) fn remove(home: &Path, id: &str, used: &Used) -> Result<(), CheckpointError> {
    let not_found = || CheckpointError::NotFound { id: id.to_owned() };
    let vault = Vault::open(home)?.ok_or_else(not_found)?;
    vault.get(id)?.ok_or_else(not_found)?;
    if vault.intent()?.is_some_and(|intent| intent.target == id) {
        return Err(CheckpointError::InUse { id: id.to_owned() });
    }
    used.forget();
    vault.drop_checkpoint(id)?;
    Ok(sweep(&vault)?)
}

/// Drops the oldest automatic checkpoint that is not `kept`, to make room, or else copies that are there for comparison alone;
/// `false` if there is nothing of the kind.
pub(super) fn make_room(home: &Path, kept: Option<&str>, used: &Used) -> Result<bool, CheckpointError> {
    let Some(vault) = Vault::open(home)? else {
        return Ok(false);
    };
    let target = vault.intent()?.map(|intent| intent.target);
    let needed = |info: &Info| Some(info.id.as_str()) == kept || Some(&info.id) == target.as_ref();
    let all = vault.list()?;
    // The newest come first.
    let made = match all.iter().rev().find(|info| info.is_auto && !needed(info)) {
        Some(oldest) => {
            tracing::info!(
                checkpoint = oldest.id,
                "an automatic checkpoint made room for another one"
            );
            vault.drop_checkpoint(&oldest.id)?;
            true
        }
        None => vault.drop_base()?,
    };
    if made {
        used.forget();
        sweep(&vault)?;
    }
    Ok(made)
}

/// Drops the oldest automatic checkpoints that are too many, and frees what nobody needs.
fn prune(vault: &Vault, bounds: &Bounds) -> io::Result<()> {
    let all = vault.list()?;
    let autos = all.iter().filter(|info| info.is_auto);
    for info in autos.skip(bounds.limits.auto_checkpoints.max(1)) {
        bounds.used.forget();
        vault.drop_checkpoint(&info.id)?;
    }
    if let Err(error) = sweep(vault) {
        tracing::warn!(%error, "copies of files that nobody needs could not be removed; it is tried again");
    }
    Ok(())
}

/// Finishes or discards what an earlier host was doing when it died.
pub(super) fn recover(home: &Path) -> io::Result<()> {
    let Some(vault) = Vault::open(home)? else {
        return Ok(());
    };
    vault.discard_unfinished()?;
    if let Some(intent) = vault.intent()? {
        let done = carry_out(&vault, &intent)?;
        tracing::info!(
            checkpoint = intent.target,
            written = done.written,
            removed = done.removed,
            "finished a restore that an earlier host had begun",
        );
    }
    Ok(())
}
