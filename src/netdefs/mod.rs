//! Network knowledge and definitions kept as data in `netdefs/`.
//!
//! Knowledge is what the RFCs, IANA and vendors fixed: RADIUS dictionaries ([`dictionary`]) and the DHCPv4 option table
//! ([`options`]). It is built into the binary and can be replaced or extended from a directory of the same shape: a file
//! of the same name replaces the built-in one, a new name adds. Definitions are an operator's own networks, pools and
//! plans ([`definitions`]), checked against each other ([`conflict`]) and compared with what is in force ([`changes`]).
//! Loaders read bytes and return values with *all* problems and their places; nothing here writes or listens.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::document::Place;
use crate::limits;

pub mod changes;
pub mod conflict;
pub mod definitions;
pub mod dictionary;
mod dictionary_text;
mod option_values;
pub mod options;
mod render;

pub use definitions::Definitions;
pub use dictionary::Dictionary;
pub use options::OptionTable;

/// One text file, from the binary or from a directory.
#[derive(Clone)]
pub struct SourceFile {
    /// Name for messages: the path below `netdefs/`, or the full path of a file from a directory.
    pub name: String,
    /// Its content.
    pub text: Cow<'static, str>,
}

impl fmt::Debug for SourceFile {
    /// The name only: definitions may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SourceFile").field(&self.name).finish()
    }
}

macro_rules! embedded {
    ($path:literal) => {
        ($path, include_str!(concat!("../../netdefs/", $path)))
    };
}

/// Built-in RADIUS dictionaries.
const RADIUS: &[(&str, &str)] = &[
    embedded!("radius/accel-ppp.dict"),
    embedded!("radius/adsl-forum.dict"),
    embedded!("radius/cisco.dict"),
    embedded!("radius/erx.dict"),
    embedded!("radius/huawei.dict"),
    embedded!("radius/microsoft.dict"),
    embedded!("radius/mikrotik.dict"),
    embedded!("radius/nokia.dict"),
    embedded!("radius/redback.dict"),
    embedded!("radius/rfc2865.dict"),
    embedded!("radius/rfc2866.dict"),
    embedded!("radius/rfc2868.dict"),
    embedded!("radius/rfc2869.dict"),
    embedded!("radius/rfc3162.dict"),
    embedded!("radius/rfc4372.dict"),
    embedded!("radius/rfc4675.dict"),
    embedded!("radius/rfc4818.dict"),
    embedded!("radius/rfc4849.dict"),
    embedded!("radius/rfc5176.dict"),
    embedded!("radius/rfc5580.dict"),
    embedded!("radius/rfc6572.dict"),
    embedded!("radius/rfc6911.dict"),
    embedded!("radius/rfc6929.dict"),
    embedded!("radius/rfc6930.dict"),
    embedded!("radius/rfc7930.dict"),
    embedded!("radius/rfc8045.dict"),
    embedded!("radius/rfc8559.dict"),
    embedded!("radius/wispr.dict"),
];

/// Built-in DHCP option tables.
const DHCP: &[(&str, &str)] = &[embedded!("dhcp/options4.toml")];

/// The sample definitions used by `demo` and tests.
const EXAMPLE_ISP: &[(&str, &str)] = &[
    embedded!("example-isp/accesses.toml"),
    embedded!("example-isp/nas.toml"),
    embedded!("example-isp/networks.toml"),
    embedded!("example-isp/plans.toml"),
    embedded!("example-isp/pools.toml"),
    embedded!("example-isp/relays.toml"),
    embedded!("example-isp/services.toml"),
    embedded!("example-isp/subscribers.toml"),
];

/// The knowledge that servers and renderings share.
#[derive(Clone, Debug)]
pub struct Netdefs {
    /// RADIUS attributes.
    pub dictionary: Dictionary,
    /// DHCPv4 options.
    pub options4: OptionTable,
}

impl Netdefs {
    /// The built-in knowledge, replaced and extended from `override_dir`.
    pub fn load(override_dir: Option<&Path>) -> Result<Self, NetdefsError> {
        let mut radius = embedded(RADIUS);
        let mut dhcp = embedded(DHCP);
        if let Some(directory) = override_dir {
            // A directory that was named but is not there would otherwise go unnoticed.
            std::fs::read_dir(directory).map_err(unreadable(directory))?;
            overlay(&mut radius, &directory.join("radius"), "dict")?;
            overlay(&mut dhcp, &directory.join("dhcp"), "toml")?;
        }
        let (options4, others): (Vec<_>, Vec<_>) =
            dhcp.iter().partition(|file| base_name(&file.name) == "options4.toml");
        if !others.is_empty() {
            let problem = |file: &SourceFile| NetdefsProblem {
                place: Place::line(&file.name.as_str().into(), 1),
                detail: "this version reads options4.toml only; move the file away".to_owned(),
            };
            return Err(NetdefsError::Wrong(others.into_iter().map(problem).collect()));
        }
        let (name, table) =
            options4.first().map_or(("dhcp/options4.toml", ""), |file| (&*file.name, &*file.text));
        Ok(Self { dictionary: Dictionary::parse(&radius)?, options4: OptionTable::parse(name, table)? })
    }
}

/// The sample definitions as files.
fn example_isp() -> Vec<SourceFile> {
    embedded(EXAMPLE_ISP)
}

fn embedded(files: &[(&'static str, &'static str)]) -> Vec<SourceFile> {
    files
        .iter()
        .map(|(name, text)| SourceFile { name: (*name).to_owned(), text: Cow::Borrowed(*text) })
        .collect()
}

/// Files of `directory` replace those of the same base name in `files`, the others are added. No directory, no change.
fn overlay(files: &mut Vec<SourceFile>, directory: &Path, extension: &str) -> Result<(), NetdefsError> {
    if !directory.is_dir() {
        return Ok(());
    }
    for file in read_directory(directory, extension)? {
        match files.iter_mut().find(|built_in| base_name(&built_in.name) == base_name(&file.name)) {
            Some(built_in) => *built_in = file,
            None => files.push(file),
        }
    }
    Ok(())
}

fn base_name(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

fn unreadable(path: &Path) -> impl FnOnce(std::io::Error) -> NetdefsError {
    let path = path.to_owned();
    move |source| NetdefsError::Unreadable { path, source }
}

/// The definition files of a directory, for [`definitions::read`].
pub fn definition_files(directory: &Path) -> Result<Vec<SourceFile>, NetdefsError> {
    read_directory(directory, "toml")
}

/// Every file of `directory` with this extension, by name.
fn read_directory(directory: &Path, extension: &str) -> Result<Vec<SourceFile>, NetdefsError> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(unreadable(directory))? {
        let path = entry.map_err(unreadable(directory))?.path();
        if path.extension().is_some_and(|found| found == extension) {
            paths.push(path);
        }
    }
    paths.sort();
    let mut files = Vec::with_capacity(paths.len());
    for path in paths {
        let size = std::fs::metadata(&path).map_err(unreadable(&path))?.len();
        if size > limits::NETDEFS_FILE_BYTES_MAX {
            return Err(NetdefsError::TooLarge { path, size });
        }
        files.push(SourceFile {
            name: path.display().to_string(),
            text: Cow::Owned(std::fs::read_to_string(&path).map_err(unreadable(&path))?),
        });
    }
    Ok(files)
}

/// One thing wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetdefsProblem {
    /// Where.
    pub place: Place,
    /// What is wrong and what would be right.
    pub detail: String,
}

impl fmt::Display for NetdefsProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.detail)
    }
}

/// Why knowledge or definitions could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum NetdefsError {
    /// A file or directory cannot be read.
    #[error("cannot read {}; see netdefs/README.md for what belongs there", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file is larger than any real one.
    #[error("{} has {size} bytes, more than {}", path.display(), limits::NETDEFS_FILE_BYTES_MAX)]
    TooLarge {
        /// Which.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
    },
    /// The content is wrong.
    #[error("{}", lines(.0))]
    Wrong(
        /// Every problem found, file by file.
        Vec<NetdefsProblem>,
    ),
}

impl NetdefsError {
    /// The problems of the content; empty when it could not be read at all.
    pub fn problems(&self) -> &[NetdefsProblem] {
        match self {
            Self::Wrong(problems) => problems,
            Self::Unreadable { .. } | Self::TooLarge { .. } => &[],
        }
    }
}

fn lines(problems: &[NetdefsProblem]) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_tree_is_built_in() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("netdefs");
        for (directory, extension, list) in
            [("radius", "dict", RADIUS), ("dhcp", "toml", DHCP), ("example-isp", "toml", EXAMPLE_ISP)]
        {
            let files = read_directory(&root.join(directory), extension).unwrap();
            let names: Vec<String> =
                files.iter().map(|file| file.name.replace(&format!("{}/", root.display()), "")).collect();
            let listed: Vec<&str> = list.iter().map(|(name, _)| *name).collect();
            assert_eq!(names, listed);
            for file in files {
                assert!(file.text.starts_with('#'), "{} does not name its source", file.name);
            }
        }
    }
}
