//! Does the knowledge in `netdefs/` load, do values read as people expect, and is every mistake in a file placed?

use std::borrow::Cow;

use lastmile::netdefs::definitions::read;
use lastmile::netdefs::dictionary::Number;
use lastmile::netdefs::{Dictionary, Netdefs, NetdefsError, OptionTable, SourceFile};
use proptest::prelude::*;

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

// RADIUS dictionaries

#[test]
fn the_built_in_dictionaries_know_the_attributes_an_isp_uses() {
    let dictionary = built_in().dictionary;
    for (vendor, kind, name) in [
        (0, 1, "User-Name"),
        (0, 97, "Framed-IPv6-Prefix"),
        (0, 123, "Delegated-IPv6-Prefix"),
        (14988, 8, "Mikrotik-Rate-Limit"),
        (9, 1, "Cisco-AVPair"),
        (4874, 65, "ERX-Service-Activate"),
        (2011, 2, "HW-Input-Committed-Information-Rate"),
        (6527, 126, "Alc-Subscriber-QoS-Override"),
        (311, 28, "MS-Primary-DNS-Server"),
        (14122, 8, "WISPr-Bandwidth-Max-Down"),
        (3561, 1, "Agent-Circuit-Id"),
        (2352, 97, "RB-Agent-Circuit-Id"),
        (55999, 1, "Accel-VRF-Name"),
    ] {
        let attribute = dictionary.attribute(vendor, kind).unwrap();
        assert_eq!(attribute.name, name);
        assert_eq!(dictionary.named(&name.to_lowercase()), Some(attribute));
    }
    assert_eq!(dictionary.value_name(Number::new(0, 40), 3), Some("Interim-Update"));
    assert_eq!(dictionary.value_named(Number::new(0, 101), "session-context-not-found"), Some(503));
    assert_eq!(dictionary.value_name(Number::new(0, 6), 17), Some("Authorize-Only"));
    assert_eq!(dictionary.vendor(14988).unwrap().name, "Mikrotik");
}

#[test]
fn attributes_that_the_radius_server_reads_and_writes_have_names() {
    let dictionary = built_in().dictionary;
    for (vendor, kinds) in [
        (311, &[28, 29][..]),
        (2352, &[96, 97]),
        (3561, &[1, 2]),
        (4874, &[110, 182]),
        (14122, &[7, 8]),
        (14988, &[8]),
    ] {
        for kind in kinds {
            assert!(dictionary.attribute(vendor, *kind).is_some(), "{vendor} {kind}");
        }
    }
}

#[test]
fn values_read_as_names_addresses_prefixes_dates_and_text() {
    let dictionary = built_in().dictionary;
    let describe = |vendor, kind, bytes: &[u8]| dictionary.describe(vendor, kind, bytes);
    let mut prefix = vec![0, 56];
    prefix.extend([0x20, 0x01, 0x0d, 0xb8, 0x20, 0, 0x01, 0xff]);
    for (rendered, expected) in [
        (describe(0, 1, b"jan \"k\""), "User-Name = \"jan \\\"k\\\"\""),
        (describe(0, 8, &[100, 64, 0, 9]), "Framed-IP-Address = 100.64.0.9"),
        (describe(0, 40, &[0, 0, 0, 3]), "Acct-Status-Type = Interim-Update"),
        (describe(0, 40, &[0, 0, 0, 99]), "Acct-Status-Type = 99"),
        (describe(0, 55, &[0x6a, 0xff, 0, 0]), "Event-Timestamp = 2026-11-19T13:56:16.000Z"),
        // Host bits beyond the length are ignored.
        (describe(0, 123, &prefix), "Delegated-IPv6-Prefix = 2001:db8:2000:100::/56"),
        (describe(0, 96, &[0, 0, 0, 0, 0, 0, 0, 1]), "Framed-Interface-Id = 0:0:0:1"),
        (describe(0, 25, b"abc"), "Class = 0x616263"),
        (describe(0, 64, &[1, 0, 0, 3]), "Tunnel-Type = :1 L2TP"),
        (describe(0, 81, b"\x02100"), "Tunnel-Private-Group-ID = :2 \"100\""),
        (describe(0, 81, b"100"), "Tunnel-Private-Group-ID = \"100\""),
        (describe(14988, 8, b"50M/300M"), "Mikrotik-Rate-Limit = \"50M/300M\""),
        (describe(4874, 66, b"SVC"), "ERX-Service-Deactivate = \"SVC\""),
        (describe(0, 173, &[1, 6, 0, 0, 0, 8]), "IPv6-6rd-Configuration = { IPv6-6rd-IPv4MaskLen = 8 }"),
        (
            describe(0, 241, &[6, 8, 6, 0, 0, 0, 1, 9, 6, 0, 0, 4, 0]),
            "Extended-Attribute-1 = { IP-Port-Range = { IP-Port-Range-Alloc = Allocation, IP-Port-Range-Start = 1024 } }",
        ),
        (describe(0, 250, &[1]), "Attribute-250 = 0x01"),
        (describe(999, 7, &[1]), "Attribute-26.999.7 = 0x01"),
    ] {
        assert_eq!(rendered, expected);
    }
    let mut vendor = 14988_u32.to_be_bytes().to_vec();
    vendor.extend(b"\x08\x06512k\x13\x06slow\x08\x09ab");
    assert_eq!(
        describe(0, 26, &vendor),
        "Vendor-Specific = { Mikrotik-Rate-Limit = \"512k\", Mikrotik-Address-List = \"slow\", <malformed, 4 bytes> }"
    );
}

#[test]
fn secrets_are_never_rendered() {
    let dictionary = built_in().dictionary;
    for (vendor, kinds) in [
        (0, &[2, 3, 69][..]),
        (9, &[249]),
        (311, &[1, 3, 4, 5, 6, 12, 16, 17, 19, 20, 25, 26, 27]),
        (4874, &[9]),
        (6527, &[122, 123, 124]),
        (14988, &[7, 16, 20]),
    ] {
        for kind in kinds {
            assert_eq!(dictionary.render(vendor, *kind, b"hunter2"), "<secret>", "{vendor} {kind}");
        }
    }
    let text = dictionary.render(9, 1, b"vpdn:l2tp-tunnel-Password=hunter2");
    assert_eq!(text, "\"vpdn:l2tp-tunnel-Password=\"<secret>");
    let binary = dictionary.render(9, 1, b"\xff\x00password=hunter2");
    assert!(binary.ends_with("<secret>") && !binary.contains("68756e746572"), "{binary}");
    let mut vendor = 311_u32.to_be_bytes().to_vec();
    vendor.extend(b"\x11\x09hunter2\x10\x40hunter2");
    let text = dictionary.render(0, 26, &vendor);
    assert_eq!(text, "{ MS-MPPE-Recv-Key = <secret>, <malformed, 9 bytes> }");
}

#[test]
fn vendors_with_wide_or_missing_length_fields_are_walked_by_their_format() {
    let text = "VENDOR Wide 100 format=4,0\nBEGIN-VENDOR Wide\nATTRIBUTE W 70000 string\nEND-VENDOR Wide\n\
                VENDOR Two 200 format=2,2\nBEGIN-VENDOR Two\nATTRIBUTE T 300 short\nEND-VENDOR Two\n\
                ATTRIBUTE VSA 26 vsa\n";
    let dictionary = Dictionary::parse(&files(&[("a.dict", text)])).unwrap();
    assert_eq!(dictionary.render(0, 26, b"\x00\x00\x00\x64\x00\x01\x11\x70hello"), "{ W = \"hello\" }");
    assert_eq!(
        dictionary.render(0, 26, b"\x00\x00\x00\xc8\x01\x2c\x00\x06\x00\x07\x01\x2c\x00\x03"),
        "{ T = 7, <malformed, 4 bytes> }"
    );
}

#[test]
fn duplicates_and_redefinitions_name_both_places() {
    let found = texts(Dictionary::parse(&files(&[
        ("a.dict", "ATTRIBUTE One 1 integer\nVALUE One x 1\nVENDOR V 9\n"),
        (
            "b.dict",
            "ATTRIBUTE one 2 string\nATTRIBUTE Uno 1 string\nVALUE One y 1\nVALUE One X 2\nVENDOR W 9\n",
        ),
    ])));
    assert_eq!(
        found,
        [
            "b.dict:1: attribute one (2) is already defined as One (1) at a.dict:1",
            "b.dict:2: attribute Uno (1) is already defined as One (1) at a.dict:1",
            "b.dict:5: vendor W (9) is already defined as V (9) at a.dict:3",
            "b.dict:3: value 1 of One is already named x at a.dict:2",
            "b.dict:4: value X of One is already 1 at a.dict:2",
        ]
    );
}

#[test]
fn every_mistake_in_a_dictionary_is_reported_with_its_line() {
    let text = "\
ATRIBUTE User-Name 1 string
ATTRIBUTE A 256 string
ATTRIBUTE B 2 strin
ATTRIBUTE C 3 string has_tags
ATTRIBUTE D x string
ATTRIBUTE E 173.1 integer
ATTRIBUTE F
VALUE Nobody x 1
BEGIN-VENDOR Nobody
END-VENDOR Nobody
$INCLUDE other
ATTRIBUTE G 7 string
VALUE G x 1
ATTRIBUTE H 8 byte
VALUE H x 256
VENDOR Bad 1 format=3,1
BEGIN-TLV G
ATTRIBUTE I 9.1.2.3.4 integer
VENDOR Open 77
BEGIN-VENDOR Open
";
    let found = texts(Dictionary::parse(&files(&[("d.dict", text)])));
    let lines: Vec<&str> = found.iter().map(|problem| problem.split(':').nth(1).unwrap()).collect();
    let all = found.join("\n");
    assert_eq!(
        lines,
        ["1", "2", "3", "4", "5", "7", "9", "10", "11", "16", "17", "18", "20", "8", "13", "15", "6"],
        "{all}"
    );
    assert!(all.contains("did you mean ATTRIBUTE?"), "{all}");
    assert!(all.contains("did you mean `string`?"), "{all}");
}

#[test]
fn an_override_directory_replaces_files_of_the_same_name_and_adds_others() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("radius")).unwrap();
    let write =
        |name: &str, text: &str| std::fs::write(directory.path().join("radius").join(name), text).unwrap();
    write(
        "wispr.dict",
        "VENDOR WISPr 14122\nBEGIN-VENDOR WISPr\nATTRIBUTE Ours 1 integer\nEND-VENDOR WISPr\n",
    );
    write("new.dict", "VENDOR New 4242\nBEGIN-VENDOR New\nATTRIBUTE New-One 1 ether\nEND-VENDOR New\n");
    let dictionary = Netdefs::load(Some(directory.path())).unwrap().dictionary;
    assert_eq!(dictionary.attribute(14122, 1).unwrap().name, "Ours");
    assert_eq!(dictionary.attribute(14122, 8), None);
    assert_eq!(dictionary.render(4242, 1, &[2, 0, 0x5e, 0, 0x53, 1]), "02:00:5e:00:53:01");
    std::fs::create_dir(directory.path().join("dhcp")).unwrap();
    let option = "[1]\nname = \"Mask\"\ntype = \"ipv4\"\ndefined = \"ours\"\n";
    std::fs::write(directory.path().join("dhcp/options4.toml"), option).unwrap();
    let options = Netdefs::load(Some(directory.path())).unwrap().options4;
    assert_eq!(options.iter().count(), 1);
    std::fs::write(directory.path().join("dhcp/options5.toml"), option).unwrap();
    let found = texts(Netdefs::load(Some(directory.path())));
    assert!(found[0].contains("dhcp/options5.toml:1: this version reads options4.toml only"), "{found:?}");
    std::fs::remove_file(directory.path().join("dhcp/options5.toml")).unwrap();
    write("clash.dict", "ATTRIBUTE Login 1 string\n");
    let error = Netdefs::load(Some(directory.path())).unwrap_err().to_string();
    assert!(
        error.contains(
            "clash.dict:1: attribute Login (1) is already defined as User-Name (1) at radius/rfc2865.dict:"
        ),
        "{error}"
    );
}

#[test]
fn an_override_directory_that_is_not_there_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let error = Netdefs::load(Some(&directory.path().join("gone"))).unwrap_err();
    assert!(matches!(error, NetdefsError::Unreadable { .. }), "{error}");
}

// DHCPv4 options

#[test]
fn dhcp_options_read_as_people_expect() {
    let options = built_in().options4;
    for (code, bytes, expected) in [
        (1, &b"\xff\xff\xff\x00"[..], "Subnet Mask = 255.255.255.0"),
        (6, b"\xc0\x00\x02\x35\xc0\x00\x02\x36", "Domain Name Server = 192.0.2.53, 192.0.2.54"),
        (53, b"\x01", "DHCP Message Type = DHCPDISCOVER"),
        (53, b"\x63", "DHCP Message Type = 99"),
        (51, b"\x00\x00\x0e\x10", "IP Address Lease Time = 3600"),
        (2, b"\xff\xff\xff\xff", "Time Offset = -1"),
        (12, b"cpe\x00", "Host Name = \"cpe\""),
        (55, b"\x01\x79\xfe", "Parameter Request List = 1 Subnet Mask, 121 Classless Static Route, 254"),
        (61, b"\x01\x02\x00\x5e\x00\x53\x01", "Client Identifier = ethernet 02:00:5e:00:53:01"),
        (61, b"\xff\x00\x00\x00\x07\x00\x03ab", "Client Identifier = iaid 7 duid 0x00036162"),
        (80, b"", "Rapid Commit = present"),
        (
            82,
            b"\x01\x03abc\x02\x02\x00\x2a\x08\x02xy\x63\x01z",
            "Relay Agent Information = { Circuit ID = abc, Remote ID = 0x002a, Authentication = <secret>, Sub-option 99 = z }",
        ),
        (82, b"\x01\x09abc", "Relay Agent Information = { <malformed, 5 bytes> }"),
        (90, b"hunter2", "Authentication = <secret>"),
        (
            121,
            b"\x18\xc0\x00\x02\x0a\x00\x00\x01\x00\x0a\x00\x00\x01",
            "Classless Static Route = 192.0.2.0/24 via 10.0.0.1, 0.0.0.0/0 via 10.0.0.1",
        ),
        (119, b"\x03lab\x07example\x00\x02ab\xc0\x04", "Domain Search = lab.example, ab.example"),
        (119, b"\x01a\xc0\x00", "Domain Search = 0x0161c000"),
        (1, b"\xff", "Subnet Mask = 0xff"),
        (254, b"x", "Option 254 = x"),
    ] {
        assert_eq!(options.describe4(code, bytes), expected);
    }
}

#[test]
fn option_values_that_no_client_could_read_are_refused_with_what_would_be_right() {
    let options = built_in().options4;
    assert_eq!(
        options.check4(3, b"abc").unwrap_err(),
        "option 3 (Router) is a list of IPv4 addresses: 4 bytes each (RFC 2132 §3.5), got a value of length 3"
    );
    for (code, bytes) in [(26, &b"\x05"[..]), (19, b"\x02"), (43, b"\x01\x05a"), (66, b""), (121, b"\x21")] {
        assert!(options.check4(code, bytes).is_err(), "{code}");
    }
    for (code, bytes) in
        [(66, &b"tftp.example.net"[..]), (43, b"\x01\x01a"), (254, b""), (114, b"https://x/")]
    {
        options.check4(code, bytes).unwrap();
    }
}

#[test]
fn every_mistake_in_an_option_table_is_placed() {
    let text = "[0]\nname = \"x\"\n[7]\nname = \"Seven\"\ntype = \"ipv5\"\ndefined = \"RFC\"\nkind = 1\n[8.9]\nname = \"n\"\n";
    let found = texts(OptionTable::parse("o.toml", text));
    let places: Vec<&str> = found.iter().map(|problem| problem.split(": ").next().unwrap()).collect();
    for place in ["o.toml:1:2", "o.toml:5:1", "o.toml:7:1", "o.toml:8:4"] {
        assert!(places.contains(&place), "{place}: {found:?}");
    }
}

proptest! {
    #[test]
    fn hostile_bytes_render_as_something(
        vendor in prop::sample::select(vec![0_u32, 9, 311, 4874, 6527, 14988, 99]),
        kind in 0_u32..300,
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        prefix in prop::sample::select(vec![&[][..], &[0, 0, 58, 140], &[0, 0, 1, 55], &[6], &[26, 0, 0, 0, 9, 1]]),
    ) {
        let knowledge = KNOWLEDGE.get_or_init(built_in);
        let value = [prefix, &bytes].concat();
        prop_assert!(knowledge.dictionary.describe(vendor, kind, &value).len() < 40_000);
        prop_assert!(knowledge.options4.describe4(kind as u8, &value).len() < 100_000);
        let _ = knowledge.options4.check4(kind as u8, &value);
    }

    #[test]
    fn hostile_texts_are_refused_or_read(text in "[\\[\\]a-zA-Z0-9=\"., \n#{}.-]{0,200}") {
        let knowledge = KNOWLEDGE.get_or_init(built_in);
        let _ = Dictionary::parse(&files(&[("x.dict", &text)]));
        let _ = OptionTable::parse("x.toml", &text);
        let _ = read(&files(&[("pools.toml", &text), ("plans.toml", &text)]), &knowledge.options4);
    }
}

static KNOWLEDGE: std::sync::OnceLock<Netdefs> = std::sync::OnceLock::new();
