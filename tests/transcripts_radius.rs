//! Runs `tests/transcripts/radius/*.txt` against the pure RADIUS cores, a real ledger and a real journal in memory.
//!
//! Besides the lines of [`transcript`]: a packet by its name (`Access-Request`, `Accounting-Start`, `Status-Server`, …) with
//! clients and fields, see `packet`; `again [NAME]` sends the last or a named one once more; `bytes 0x…` sends raw ones;
//! `evict` empties the duplicate caches; `classes` tells how many foreign or forged Class values were met. `repeat N …` sends
//! as many requests and tells what came of the last; `signatures NAS` how far its proof has come; `learned again` loads all
//! proofs from what was saved of them.

#![expect(clippy::unwrap_used, reason = "only tests call it: a panic is a failed test")]

#[path = "transcripts_radius/packet.rs"]
mod packet;
#[path = "support/transcript/mod.rs"]
mod transcript;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use lastmile::model::nas::Requirement;
use lastmile::netdefs::Netdefs;
use lastmile::radius::duplicate::DuplicateCache;
use lastmile::radius::signatures::{Signatures, Standing};
use lastmile::radius::wire::class::ClassKey;
use lastmile::radius::{AcctCore, AuthCore};
use lastmile::secret::Secret;
use packet::{Language, Request};
use transcript::node::{Node, Sent, Tell};

struct Radius {
    node: Node,
    auth: Rc<AuthCore>,
    acct: Rc<AcctCore>,
    language: Rc<RefCell<Language>>,
    signatures: Arc<Signatures>,
    classes: Rc<RefCell<HashMap<String, Vec<u8>>>>,
    named: HashMap<String, Request>,
    last: Option<Request>,
}

fn class_key() -> ClassKey {
    ClassKey::new(&Secret::new("the nodes' class key"))
}

impl Radius {
    fn new() -> Self {
        let signatures = Arc::default();
        let (auth, acct) = cores(&signatures);
        let language = Language::new(Netdefs::load(None).unwrap().dictionary, class_key());
        Self {
            node: Node::new(),
            auth,
            acct,
            signatures,
            language: Rc::new(RefCell::new(language)),
            classes: Rc::default(),
            named: HashMap::new(),
            last: None,
        }
    }

    fn run(&mut self, text: &str) -> String {
        let out = transcript::run(text, |line| self.step(line));
        self.node.check();
        out
    }

    fn step(&mut self, line: &str) -> Vec<String> {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        if let Some(outcomes) = self.node.step(verb, rest) {
            let nases = self.node.snapshot().all_nas();
            let learned = nases.filter(|nas| nas.require_message_authenticator == Requirement::Auto);
            self.signatures.follow(learned.map(|nas| nas.id));
            return outcomes;
        }
        match verb {
            "evict" => {
                (self.auth, self.acct) = cores(&self.signatures);
                Vec::new()
            }
            "learned" => {
                self.signatures = Arc::new(Signatures::load(&self.signatures.image()).unwrap());
                (self.auth, self.acct) = cores(&self.signatures);
                Vec::new()
            }
            "signatures" => {
                let nas = self.node.snapshot().all_nas().find(|nas| &*nas.name == rest).unwrap();
                vec![match self.signatures.standing(nas.id) {
                    None => "nothing is learned".to_owned(),
                    Some(Standing::Learning { signed, .. }) => format!("learning, {signed} signed"),
                    Some(Standing::Proven { since }) => {
                        format!("proven, signed for {} s", self.node.now().since(since) / 1000)
                    }
                }]
            }
            "repeat" => {
                let (times, line) = rest.split_once(' ').unwrap();
                (0..times.parse::<u32>().unwrap()).map(|_| self.step(line)).last().unwrap()
            }
            "classes" => {
                let foreign = self.acct.foreign_classes.load(Ordering::Relaxed);
                vec![format!("{foreign} foreign or forged")]
            }
            "again" if rest.is_empty() => self.receive(self.last.clone().unwrap()),
            "again" => self.receive(self.named[rest].clone()),
            "bytes" => {
                let bytes = transcript::octets(rest).unwrap();
                let source = "192.0.2.1:40000".parse().unwrap();
                let sent = Sent { bytes, source, local: "192.0.2.53".parse().unwrap() };
                self.receive(Request { sent, accounting: false, name: None, secret: String::new() })
            }
            _ => {
                let now = self.node.now();
                let request =
                    self.language.borrow_mut().parse(line, &self.node.clients, &self.classes.borrow(), now);
                self.receive(request)
            }
        }
    }

    fn receive(&mut self, request: Request) -> Vec<String> {
        self.last = Some(request.clone());
        if let Some(name) = &request.name {
            self.named.insert(name.clone(), request.clone());
        }
        let sent = request.sent.clone();
        let accounting = request.accounting;
        let (language, classes) = (Rc::clone(&self.language), Rc::clone(&self.classes));
        let tell: Tell = Rc::new(move |reply, bytes, names| {
            if let Some((name, class)) = request.name.as_ref().zip(packet::class_of(bytes)) {
                classes.borrow_mut().entry(name.clone()).or_insert(class);
            }
            language.borrow().describe(&request, reply, bytes, names)
        });
        if accounting {
            self.node.receive(&self.acct, &sent, &tell)
        } else {
            self.node.receive(&self.auth, &sent, &tell)
        }
    }
}

fn cores(signatures: &Arc<Signatures>) -> (Rc<AuthCore>, Rc<AcctCore>) {
    let class = Arc::new(class_key());
    let cache = || Arc::new(DuplicateCache::new(1_024));
    let auth = AuthCore::new(Arc::clone(&class), cache()).learning(Arc::clone(signatures));
    (Rc::new(auth), Rc::new(AcctCore::new(class, cache())))
}

#[test]
fn every_transcript_comes_out_as_written() {
    transcript::compare("radius", |text| Radius::new().run(text));
}

#[test]
fn the_same_transcript_comes_out_the_same_twice() {
    transcript::repeat("radius", |text| Radius::new().run(text));
}
