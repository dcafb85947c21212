//! Freeing the copies of files that no checkpoint needs any more.
//!
//! Invariant: a copy goes only if a dropped manifest names it and no other does; the dropped manifest goes last, so what a
//! crash leaves undone is done by the next sweep. A manifest that can't be read keeps everything.

use std::{collections::BTreeMap, ffi::CString, io, os::fd::AsFd};

use rustix::{
    fs::{AtFlags, Mode, openat, unlinkat},
    io::Errno,
};

use super::{
    capture::ManifestReader,
    disk::{DIRECTORY, delete_file, names},
    info::Info,
    manifest::{Kind, Object},
    vault::{GONE, MANIFEST, Vault, read_manifest},
};
use crate::sprite::host::descent::remove;

/// Removes the copies that only dropped checkpoints needed.
pub(super) fn sweep(vault: &Vault) -> io::Result<()> {
    let gone = openat(&vault.dir, GONE, DIRECTORY, Mode::empty())?;
    let dropped = names(&gone)?;
    if dropped.is_empty() {
        return Ok(());
    }
    let mut unneeded = Marks::default();
    for name in &dropped {
        let place = openat(&gone, name, DIRECTORY, Mode::empty())?;
        match read_manifest(&place, MANIFEST) {
            Ok(reader) => each_object(reader, |object| unneeded.set(object))?,
            Err(error) => tracing::debug!(%error, "a dropped checkpoint without a manifest"),
        }
    }
    for name in names(&vault.dir)? {
        if Info::is_id(name.to_bytes()) {
            let checkpoint = openat(&vault.dir, &name, DIRECTORY, Mode::empty())?;
            each_object(read_manifest(&checkpoint, MANIFEST)?, |object| {
                unneeded.clear(object);
            })?;
        }
    }
    if let Some(base) = vault.base() {
        each_object(base, |object| unneeded.clear(object))?;
    }
    let objects = vault.objects()?;
    for (build, numbers) in unneeded.by_build() {
        let name = build.to_string();
        let dir = match openat(&objects, name.as_str(), DIRECTORY, Mode::empty()) {
            Ok(dir) => dir,
            Err(Errno::NOENT) => continue,
            Err(errno) => return Err(errno.into()),
        };
        for number in numbers {
            delete_file(&dir, &CString::new(number.to_string())?)?;
        }
        match unlinkat(&objects, name.as_str(), AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOTEMPTY | Errno::NOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    for name in &dropped {
        remove(gone.as_fd(), name)?;
    }
    Ok(())
}

/// A set of objects; a bit for each of a build.
#[derive(Debug, Default)]
struct Marks(BTreeMap<u32, Vec<u64>>);

impl Marks {
    fn set(&mut self, object: Object) {
        let bits = self.0.entry(object.build).or_default();
        let word = (object.number / 64) as usize;
        if bits.len() <= word {
            bits.resize(word + 1, 0);
        }
        bits[word] |= 1 << (object.number % 64);
    }

    fn clear(&mut self, object: Object) {
        let bits = self.0.get_mut(&object.build);
        if let Some(word) = bits.and_then(|bits| bits.get_mut((object.number / 64) as usize)) {
            *word &= !(1 << (object.number % 64));
        }
    }

    fn by_build(&self) -> impl Iterator<Item = (u32, impl Iterator<Item = u32> + '_)> {
        self.0.iter().map(|(build, bits)| {
            let numbers = (0_u32..).zip(bits).flat_map(|(word, bits)| {
                (0..64)
                    .filter(move |bit| bits & (1 << bit) != 0)
                    .map(move |bit| word * 64 + bit)
            });
            (*build, numbers)
        })
    }
}

fn each_object(mut manifest: ManifestReader, mut visit: impl FnMut(Object)) -> io::Result<()> {
    manifest.each(|entry| {
        // Number 0 of no build is a file that was not copied.
        if let Kind::File { object, .. } = entry.kind
            && object.build > 0
        {
            visit(object);
        }
    })
}
