//! A small disk of the test's own: a tmpfs in a mount namespace that lives as long as this value.

#![expect(clippy::unwrap_used, reason = "a disk that cannot be made is a failed test")]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::skip;

/// A mount namespace with a tmpfs.
pub(crate) struct SmallDisk {
    holder: Child,
    at: PathBuf,
}

impl SmallDisk {
    /// Mounts a tmpfs of so many MiB at `at` for those who are in the namespace, or says why that cannot be.
    pub(crate) fn mount(at: &Path, mebibytes: u32) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let script = format!(
            "mount -t tmpfs -o size={mebibytes}m,mode=0700 tmpfs {} && echo mounted && exec cat",
            at.display()
        );
        let spawned = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut holder) = spawned else {
            skip("no unshare");
            return None;
        };
        let mut said = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut said).unwrap();
        let disk = Self { holder, at: at.to_owned() };
        if said.trim() != "mounted" {
            skip("a tmpfs can only be mounted by root");
            return None;
        }
        Some(disk)
    }

    /// Program and arguments that run a daemon where the disk is.
    pub(crate) fn wrapper(&self) -> Vec<String> {
        ["nsenter", "--mount", "--target"]
            .map(str::to_owned)
            .into_iter()
            .chain([self.holder.id().to_string(), "--".to_owned()])
            .collect()
    }

    /// The disk's directory as seen from outside.
    pub(crate) fn path(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(self.at.strip_prefix("/").unwrap())
    }

    /// Fills it to the last byte.
    pub(crate) fn fill(&self) {
        let mut file = std::fs::File::create(self.path().join("filler")).unwrap();
        let piece = vec![0x5a; 65_536];
        while file.write_all(&piece).is_ok() {}
        while file.write_all(&[0x5a]).is_ok() {}
    }

    /// Frees what `fill` took.
    pub(crate) fn free(&self) {
        std::fs::remove_file(self.path().join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
