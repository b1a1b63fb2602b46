//! Are contradictions between definitions found and placed, and does a plan of change say what applying would do?

use std::borrow::Cow;
use std::path::Path;

use lastmile::model::{Kind, Prefix, Ref, Spec};
use lastmile::netdefs::changes::{ChangePlan, name_references, plan_changes};
use lastmile::netdefs::conflict::{Subject, conflicts};
use lastmile::netdefs::definitions::{self, Definitions};
use lastmile::netdefs::{Netdefs, NetdefsError, SourceFile};

fn files(files: &[(&str, &str)]) -> Vec<SourceFile> {
    files
        .iter()
        .map(|(name, text)| SourceFile { name: (*name).to_owned(), text: Cow::Owned((*text).to_owned()) })
        .collect()
}

fn built_in() -> Netdefs {
    Netdefs::load(None).unwrap_or_else(|error| panic!("{error}"))
}

fn texts<T>(result: Result<T, NetdefsError>) -> Vec<String> {
    match result {
        Ok(_) => Vec::new(),
        Err(error) => error.problems().iter().map(ToString::to_string).collect(),
    }
}

fn defined(texts: &[(&str, &str)]) -> Result<Definitions, NetdefsError> {
    definitions::read(&files(texts), &built_in().options4)
}

#[test]
fn the_example_isp_loads_without_a_warning_and_shows_what_an_isp_has() {
    let example = definitions::example().unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(example.warnings, []);
    let kinds = |kind| example.objects.iter().filter(move |object| object.kind == kind).count();
    assert_eq!(kinds(Kind::Network), 6);
    assert_eq!(kinds(Kind::Nas), 3);
    for plan in ["home-100", "home-300", "business", "cpe-mgmt"] {
        assert!(example.find(Kind::Plan, plan).is_some(), "{plan}");
    }
    let Some(Spec::Nas(bras1)) = example.find(Kind::Nas, "bras1").map(|nas| &nas.spec) else {
        panic!("bras1");
    };
    assert_eq!(bras1.addresses, ["127.0.0.1".parse::<Prefix>().unwrap(), "::1".parse().unwrap()]);
    assert_eq!(bras1.secret.secret().unwrap().expose(), b"testing123-lab");
    let from_directory = definitions::load(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("netdefs/example-isp"),
        &built_in().options4,
    )
    .unwrap();
    assert_eq!(from_directory.objects.len(), example.objects.len());
    let kinds: Vec<Kind> = example.objects.iter().map(|object| object.kind).collect();
    let mut sorted = kinds.clone();
    sorted.sort_by_key(|kind| Kind::ALL.iter().position(|known| known == kind));
    assert_eq!(kinds, sorted);
}

#[test]
fn secrets_in_files_show_in_no_debug_output() {
    let text = "[n]\naddresses = [\"192.0.2.1\"]\nsecret = \"hunter2hunter2\"\n";
    let files = files(&[("nas.toml", text)]);
    let set = definitions::read(&files, &built_in().options4).unwrap();
    assert!(!format!("{files:?} {set:?}").contains("hunter2"));
}

const NETWORK: &str = "[lan]\nprefixes = [\"192.0.2.0/24\"]\ngateways = [\"192.0.2.1\"]\n";

#[test]
fn wrong_members_and_references_are_reported_together_with_line_and_suggestion() {
    let found = texts(defined(&[
        ("networks.toml", NETWORK),
        (
            "pools.toml",
            "[p]\nnetwork = \"lam\"\nclas = \"home\"\nclass = \"home\"\nranges = [\"192.0.2.10-192.0.2.20\"]\n\
                        [q]\nnetwork = \"lam\"\nclass = \"home\"\nranges = [\n  \"192.0.2.30-192.0.2.40\",\n  \"nonsense\",\n]\n\
                        [r]\nnetwork = \"lam\"\nclass = \"home\"\nranges = [\"192.0.2.50\"]\n",
        ),
        ("network.toml", "[x]\n"),
        ("plans-old.toml", "[a]\n[a2]\nrate_down = 1\n"),
        ("plans.toml", "[a]\n"),
    ]));
    assert_eq!(
        found,
        [
            "pools.toml:3:1: pool `p`: unknown member `clas`; did you mean `class`?",
            "pools.toml:11:3: pool `q`: `nonsense` is not an address or prefix such as 192.0.2.1 or 2001:db8::/48",
            "network.toml:1:1: no kind of object is called `network`; did you mean `networks.toml`?",
            "plans-old.toml:3:1: plan `a2`: expected a whole number from 1000 to 10000000000000",
            "plans.toml:1:2: plan `a` is already defined at plans-old.toml:1:2",
            "pools.toml:14:1: pool `r` names network `lam`, which is nowhere; did you mean `lan`?",
        ]
    );
}

#[test]
fn overlapping_pools_of_one_vrf_are_an_error_that_names_both() {
    let networks = "[a]\nprefixes = [\"10.0.0.0/16\"]\n[b]\nprefixes = [\"10.0.0.0/16\"]\nvrf = \"biz\"\n";
    let pool = |id: &str, network: &str, range: &str| {
        format!("[{id}]\nnetwork = \"{network}\"\nclass = \"c\"\nranges = [\"{range}\"]\n")
    };
    let pools = [
        pool("p", "a", "10.0.1.0-10.0.1.255"),
        pool("q", "a", "10.0.1.128-10.0.2.127"),
        pool("r", "b", "10.0.1.0-10.0.1.255"),
    ]
    .concat();
    assert_eq!(
        texts(defined(&[("networks.toml", networks), ("pools.toml", &pools)])),
        [
            "pools.toml:8:11: 10.0.1.128-10.0.2.127 of pool `q` overlaps 10.0.1.0-10.0.1.255 of pool `p` in VRF default \
             (the other is at pools.toml:4:11)"
        ]
    );
}

#[test]
fn a_pool_outside_its_network_or_over_its_own_addresses_is_an_error() {
    let pools =
        "[p]\nnetwork = \"lan\"\nclass = \"c\"\nranges = [\"192.0.3.0-192.0.3.9\", \"192.0.2.0/24\"]\n";
    assert_eq!(
        texts(defined(&[("networks.toml", NETWORK), ("pools.toml", pools)])),
        [
            "pools.toml:4:11: 192.0.3.0-192.0.3.9 of pool `p` lies in none of the prefixes of network `lan` \
             (the other is at networks.toml:2:1)",
            "pools.toml:4:34: 192.0.2.0-192.0.2.255 of pool `p` holds 192.0.2.1, a gateway of network `lan` \
             (the other is at networks.toml:3:13)",
            "pools.toml:4:34: 192.0.2.0-192.0.2.255 of pool `p` holds 192.0.2.0, the network address of network `lan` \
             (the other is at networks.toml:2:13)",
            "pools.toml:4:34: 192.0.2.0-192.0.2.255 of pool `p` holds 192.0.2.255, the broadcast address of network `lan` \
             (the other is at networks.toml:2:13)",
        ]
    );
    let pppoe = NETWORK.replace("gateways = [\"192.0.2.1\"]", "assignment = \"pppoe\"");
    let whole = "[p]\nnetwork = \"lan\"\nclass = \"c\"\nranges = [\"192.0.2.0/24\"]\n";
    defined(&[("networks.toml", &pppoe), ("pools.toml", whole)]).unwrap();
}

#[test]
fn networks_nases_relays_and_fixed_addresses_may_not_collide() {
    let networks = "[a]\nprefixes = [\"10.0.0.0/8\"]\n[b]\nprefixes = [\"10.1.0.0/16\"]\n[c]\nprefixes = [\"10.2.0.0/16\"]\n";
    let nas = "[n]\naddresses = [\"192.0.2.1\"]\nsecret = \"12345678\"\n[o]\naddresses = [\"192.0.2.1\"]\nsecret = \"12345678\"\n\
               [p]\naddresses = [\"192.0.2.1\"]\nidentifier = \"p\"\nsecret = \"12345678\"\n";
    let relays = "[r]\naddresses = [\"192.0.2.1\"]\n[s]\naddresses = [\"192.0.2.1\"]\n";
    let services = "[x]\nsubscriber = \"u\"\nplan = \"l\"\naddressing = { ipv4 = { address = \"203.0.113.9\" } }\n\
                    [y]\nsubscriber = \"u\"\nplan = \"l\"\naddressing = { routed_v4 = [\"203.0.113.8/29\"] }\n\
                    [z]\nsubscriber = \"u\"\nplan = \"l\"\naddressing = { vrf = \"biz\", routed_v4 = [\"203.0.113.8/29\"] }\n";
    let found = texts(defined(&[
        ("networks.toml", networks),
        ("nas.toml", nas),
        ("relays.toml", relays),
        ("services.toml", services),
        ("subscribers.toml", "[u]\n"),
        ("plans.toml", "[l]\n"),
    ]));
    assert_eq!(
        found,
        [
            "networks.toml:4:13: 10.1.0.0/16 of network `b` overlaps 10.0.0.0/8 of network `a` in VRF default (the other is \
             at networks.toml:2:13)",
            "networks.toml:6:13: 10.2.0.0/16 of network `c` overlaps 10.0.0.0/8 of network `a` in VRF default (the other is \
             at networks.toml:2:13)",
            "services.toml:4:1: 203.0.113.9 of service `x` overlaps 203.0.113.8/29 of service `y` in VRF default (the other \
             is at services.toml:8:1)",
            "nas.toml:5:1: nas `o` and nas `n` both have `192.0.2.1` (the other is at nas.toml:2:1)",
            "relays.toml:4:1: relay `s` and relay `r` both have `192.0.2.1` (the other is at relays.toml:2:1)",
        ]
    );
}

#[test]
fn a_plan_without_a_pool_somewhere_is_a_warning() {
    let pools =
        "[p]\nnetwork = \"lan\"\nclass = \"home\"\ngroup = \"east\"\nranges = [\"192.0.2.10-192.0.2.20\"]\n";
    let plans = "[a]\npool_class_v4 = \"home\"\npool_class_pd = \"home\"\n[b]\npool_class_v4 = \"home\"\nvrf = \"biz\"\n";
    let nas = "[n]\naddresses = [\"192.0.2.1\"]\nsecret = \"12345678\"\ngroup = \"west\"\n";
    let set = defined(&[
        ("networks.toml", NETWORK),
        ("pools.toml", pools),
        ("plans.toml", plans),
        ("nas.toml", nas),
    ]);
    let warnings: Vec<String> = set.unwrap().warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "plans.toml:2:1: plan `a`: no IPv4 pool of class `home` in VRF default serves NAS group `west` (NAS `n`)",
            "plans.toml:3:1: plan `a`: no IPv6 pool of class `home` in VRF default",
            "plans.toml:5:1: plan `b`: no IPv4 pool of class `home` in VRF biz",
        ]
    );
}

#[test]
fn network_options_that_clients_cannot_read_are_refused() {
    let networks = format!(
        "{NETWORK}options = [{{ code = 66, value = \"tftp\" }}, {{ code = 26, value = \"0x05\" }}]\n"
    );
    assert_eq!(
        texts(defined(&[("networks.toml", &networks)])),
        [
            "networks.toml:4:43: network `lan`: option 26 (Interface MTU) is a number of 2 bytes (RFC 2132 §5.1), got a value of length 1"
        ]
    );
}

#[test]
fn conflicts_are_found_through_resolved_references_too() {
    let set = defined(&[
        ("networks.toml", NETWORK),
        ("pools.toml", "[p]\nnetwork = \"lan\"\nclass = \"c\"\nranges = [\"192.0.2.8/29\"]\n"),
    ])
    .unwrap();
    let id = lastmile::ids::Uid(7);
    let network = &set.find(Kind::Network, "lan").unwrap().spec;
    let mut pool = set.find(Kind::Pool, "p").unwrap().spec.clone();
    for (_, kind, reference) in pool.refs_mut() {
        *reference = Ref::Id(kind, id);
    }
    if let Spec::Pool(pool) = &mut pool {
        pool.ranges = vec!["192.0.3.0/29".parse().unwrap()];
    }
    let subject = |name, id, spec| Subject { name, id, spec };
    let found = conflicts(&[subject("lan", Some(id), network), subject("p", None, &pool)]);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].code, found[0].first.index), ("pool-outside-network", 1));
    assert_eq!(found[0].second.as_ref().unwrap().pointer, "/prefixes");
}

// Plans of change

fn in_force(set: &Definitions) -> Vec<(Kind, String, Spec)> {
    set.objects.iter().map(|object| (object.kind, object.external_id.clone(), object.spec.clone())).collect()
}

#[test]
fn applying_what_is_in_force_changes_nothing() {
    let example = definitions::example().unwrap();
    let mut current = in_force(&example);
    let plan = plan_changes(&current, &example, true);
    assert!(plan.is_empty());
    assert_eq!(plan.to_string(), format!("= {} unchanged\n", example.objects.len()));
    // The same reference in its other spelling, or resolved and named again, is no change.
    for (_, _, spec) in &mut current {
        for (_, _, reference) in spec.refs_mut() {
            if let Ref::External { source, .. } = reference {
                *source = Some("netdefs".to_owned());
            }
        }
    }
    assert!(plan_changes(&current, &example, true).is_empty());
    let mut pool = example.find(Kind::Pool, "fibre").unwrap().spec.clone();
    let original = pool.clone();
    for (_, kind, reference) in pool.refs_mut() {
        *reference = Ref::Id(kind, lastmile::ids::Uid(9));
    }
    name_references(&mut pool, |_, uid| (uid.0 == 9).then(|| "fibre-public".to_owned()));
    assert_eq!(pool, original);
}

#[test]
fn a_plan_of_change_says_what_is_made_changed_kept_and_drained() {
    let before = defined(&[
        ("networks.toml", NETWORK),
        ("pools.toml", "[p]\nnetwork = \"lan\"\nclass = \"c\"\nranges = [\"192.0.2.8/29\"]\n"),
        ("plans.toml", "[home]\nrate_down = 300000000\nfilter_id = \"x\"\n[other]\n"),
        ("nas.toml", "[n]\naddresses = [\"192.0.2.1\"]\nsecret = \"hunter2-old\"\n"),
    ])
    .unwrap();
    let after = defined(&[
        ("networks.toml", &format!("{NETWORK}[new]\nprefixes = [\"198.51.100.0/24\"]\n")),
        ("plans.toml", "[home]\nrate_down = 350000000\nrate_up = 5000\n[other]\n"),
        ("nas.toml", "[n]\naddresses = [\"192.0.2.1\"]\nsecret = \"hunter2-new\"\n"),
    ])
    .unwrap();
    let current = in_force(&before);
    let text = |plan: &ChangePlan| plan.to_string();
    let plan = plan_changes(&current, &after, false);
    assert_eq!(
        text(&plan),
        "+ network new\n\
         ~ plan home: filter_id \"x\" -> -, rate_down 300000000 -> 350000000, rate_up - -> 5000\n\
         ~ nas n: secret <secret> -> <secret>\n\
         - pool p (drain: refused without --prune)\n\
         = 2 unchanged\n"
    );
    assert!(plan.remove.is_empty());
    let plan = plan_changes(&current, &after, true);
    assert!(text(&plan).contains("- pool p (drain)\n"));
    assert!(plan.kept.is_empty());
    // What refers goes first.
    let order: Vec<String> = plan_changes(&current, &Definitions::default(), true)
        .remove
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(order, ["nas n", "plan home", "plan other", "pool p", "network lan"]);
}
