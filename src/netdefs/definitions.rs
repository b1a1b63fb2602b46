//! An operator's own networks, pools, plans, NASes and relays as files.
//!
//! `<collection>.toml` (or `<collection>-<anything>.toml`, to split a large one) holds one table per object: the key is
//! the external id, the members are those of the API's spec and are read by the same reader. References name external
//! ids of the same set. What the loader returns is complete and free of contradictions ([`super::conflict`]); everything
//! wrong is reported at once with file and line. Applying it is a use-case's business.

use std::collections::BTreeMap;
use std::path::Path;

use super::conflict::{self, Conflict, Severity, Side, Subject};
use super::{
    DHCP, NetdefsError, NetdefsProblem, OptionTable, SourceFile, base_name, example_isp, read_directory,
};
use crate::document::{Document, Place};
use crate::model::decode::{escape, nearest, octets_from_text};
use crate::model::{Kind, Problems, Ref, Spec};

/// Namespace of what is defined in files.
pub const SOURCE: &str = "netdefs";

/// One object from a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// Kind of object.
    pub kind: Kind,
    /// Its id in the files.
    pub external_id: String,
    /// Desired state; references are external ids.
    pub spec: Spec,
    /// Where its table begins.
    pub origin: Place,
}

/// A set of definitions without contradictions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Definitions {
    /// The objects, in an order in which references allow them to be written, then by external id.
    pub objects: Vec<Definition>,
    /// What is probably not meant, such as a plan whose pool class has no pool.
    pub warnings: Vec<NetdefsProblem>,
}

impl Definitions {
    /// The object of this kind and external id.
    pub fn find(&self, kind: Kind, external_id: &str) -> Option<&Definition> {
        self.objects.iter().find(|object| object.kind == kind && object.external_id == external_id)
    }
}

/// Reads the definitions of a directory; `options` judges the DHCP options of networks.
pub fn load(directory: &Path, options: &OptionTable) -> Result<Definitions, NetdefsError> {
    read(&read_directory(directory, "toml")?, options)
}

/// The sample definitions that are built in.
pub fn example() -> Result<Definitions, NetdefsError> {
    let (name, text) = DHCP.first().copied().unwrap_or_default();
    read(&example_isp(), &OptionTable::parse(name, text)?)
}

/// Reads definitions from texts.
pub fn read(files: &[SourceFile], options: &OptionTable) -> Result<Definitions, NetdefsError> {
    let mut set = Set::default();
    for file in files {
        set.file(file);
    }
    set.entries.sort_by(|a, b| {
        let order = |kind| Kind::ALL.iter().position(|known| *known == kind);
        (order(a.object.kind), &a.object.external_id).cmp(&(order(b.object.kind), &b.object.external_id))
    });
    set.check_references();
    set.check_options(options);
    let mut warnings = Vec::new();
    for conflict in conflict::conflicts(&set.subjects()) {
        let problem = set.place_conflict(&conflict);
        match conflict.severity {
            Severity::Error => set.problems.push(problem),
            Severity::Warning => warnings.push(problem),
        }
    }
    if !set.problems.is_empty() {
        return Err(NetdefsError::Wrong(set.problems));
    }
    let objects = set.entries.into_iter().map(|entry| entry.object).collect();
    Ok(Definitions { objects, warnings })
}

/// An object and the document that knows the places of its members.
struct Entry {
    object: Definition,
    document: usize,
}

#[derive(Default)]
struct Set {
    documents: Vec<Document>,
    entries: Vec<Entry>,
    defined: BTreeMap<Kind, BTreeMap<String, Place>>,
    problems: Vec<NetdefsProblem>,
}

impl Set {
    fn problem(&mut self, place: Place, detail: impl Into<String>) {
        self.problems.push(NetdefsProblem { place, detail: detail.into() });
    }

    fn file(&mut self, file: &SourceFile) {
        let document = Document::parse(&file.name, &file.text);
        for (place, detail) in &document.errors {
            self.problem(place.clone(), detail.clone());
        }
        let Some(kind) = kind_of_file(&file.name) else {
            let stem = stem(&file.name);
            let known: Vec<&str> = Kind::ALL.iter().map(|kind| kind.collection()).collect();
            let hint = nearest(stem, &known).map_or_else(
                || format!("known files: {}", known.join(", ")),
                |near| format!("did you mean `{near}.toml`?"),
            );
            self.problem(document.place(""), format!("no kind of object is called `{stem}`; {hint}"));
            return;
        };
        let tables = document.value.as_object().cloned().unwrap_or_default();
        for (external_id, value) in tables {
            let pointer = format!("/{}", escape(&external_id));
            let origin = document.place(&pointer);
            let mut problems = Problems::default();
            let spec = Spec::decode(kind, &value, &pointer, &mut problems);
            for problem in problems.0 {
                let detail = format!("{} `{external_id}`: {}", kind.name(), problem.detail);
                self.problem(document.place(&problem.pointer), detail);
            }
            if let Err(detail) = check_external_id(&external_id) {
                self.problem(origin.clone(), detail);
            }
            let defined = self.defined.entry(kind).or_default();
            if let Some(first) = defined.get(&external_id) {
                let detail = format!("{} `{external_id}` is already defined at {first}", kind.name());
                self.problem(origin, detail);
                continue;
            }
            defined.insert(external_id.clone(), origin.clone());
            if let Some(spec) = spec {
                self.entries.push(Entry {
                    object: Definition { kind, external_id, spec, origin },
                    document: self.documents.len(),
                });
            }
        }
        self.documents.push(document);
    }

    fn place(&self, entry: &Entry, pointer: &str) -> Place {
        let full = format!("/{}{pointer}", escape(&entry.object.external_id));
        self.documents
            .get(entry.document)
            .map_or_else(|| entry.object.origin.clone(), |document| document.place(&full))
    }

    /// What refers into another source is for the use-case to resolve; here only the set itself is known.
    fn check_references(&mut self) {
        let mut found = Vec::new();
        for entry in &self.entries {
            for (member, kind, reference) in entry.object.spec.refs() {
                let Ref::External { source, id } = reference else {
                    continue;
                };
                let known = self.defined.get(&kind);
                if source.as_ref().is_some_and(|source| source != SOURCE)
                    || known.is_some_and(|known| known.contains_key(id))
                {
                    continue;
                }
                let known: Vec<&str> = known.into_iter().flatten().map(|(id, _)| id.as_str()).collect();
                let hint = nearest(id, &known).map_or_else(
                    || format!("define it in {}.toml", kind.collection()),
                    |near| format!("did you mean `{near}`?"),
                );
                let object = &entry.object;
                let detail = format!(
                    "{} `{}` names {} `{id}`, which is nowhere; {hint}",
                    object.kind.name(),
                    object.external_id,
                    kind.name()
                );
                found.push((self.place(entry, &format!("/{member}")), detail));
            }
        }
        for (place, detail) in found {
            self.problem(place, detail);
        }
    }

    /// DHCP options whose type is known must be readable by clients.
    fn check_options(&mut self, options: &OptionTable) {
        let mut found = Vec::new();
        for entry in &self.entries {
            let Spec::Network(network) = &entry.object.spec else {
                continue;
            };
            for (index, option) in network.options.iter().enumerate() {
                let bytes = octets_from_text(&option.value).unwrap_or_default();
                if let Err(detail) = options.check4(option.code, &bytes) {
                    let place = self.place(entry, &format!("/options/{index}"));
                    found.push((place, format!("network `{}`: {detail}", entry.object.external_id)));
                }
            }
        }
        for (place, detail) in found {
            self.problem(place, detail);
        }
    }

    fn subjects(&self) -> Vec<Subject<'_>> {
        self.entries
            .iter()
            .map(|entry| Subject { name: &entry.object.external_id, id: None, spec: &entry.object.spec })
            .collect()
    }

    fn place_conflict(&self, conflict: &Conflict) -> NetdefsProblem {
        let place = |side: &Side| self.entries.get(side.index).map(|entry| self.place(entry, &side.pointer));
        let unknown = || Place::line(&std::sync::Arc::from(SOURCE), 0);
        let detail = match conflict.second.as_ref().and_then(place) {
            Some(second) => format!("{} (the other is at {second})", conflict.detail),
            None => conflict.detail.clone(),
        };
        NetdefsProblem { place: place(&conflict.first).unwrap_or_else(unknown), detail }
    }
}

fn stem(file: &str) -> &str {
    let base = base_name(file);
    base.strip_suffix(".toml").unwrap_or(base)
}

/// `pools.toml` and `pools-north.toml` both hold pools.
fn kind_of_file(file: &str) -> Option<Kind> {
    let stem = stem(file);
    let collection = stem.split_once('-').map_or(stem, |(collection, _)| collection);
    Kind::from_collection(collection)
}

fn check_external_id(id: &str) -> Result<(), String> {
    if id.is_empty() || id.len() > 255 || id.chars().any(char::is_control) {
        return Err(format!("`{id}` is not an external id: 1 to 255 bytes without control characters"));
    }
    // A reference to such an id would be read as something else.
    if id.starts_with("ext:") || Kind::parse_id(id).is_some() {
        return Err(format!("`{id}` reads like a reference; choose another external id"));
    }
    Ok(())
}
