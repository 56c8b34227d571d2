//! Pickles, archives and JSON that are broken, over-large or meant to harm.

use super::files::{File, OLD_MAGIC, Saved, Writer, zip};
use crate::nnunet::NnUnetError;
use crate::nnunet::checkpoint::Checkpoint;
use crate::nnunet::labels::Dataset;
use crate::nnunet::pickle::{MAX_DEPTH, Node, Pickle, PickleError};
use crate::nnunet::plans::Plans;
use proptest::prelude::*;
use std::io::Cursor;
use std::path::Path;

fn open(bytes: Vec<u8>) -> Result<Checkpoint<Cursor<Vec<u8>>>, NnUnetError> {
    Checkpoint::from_reader(Cursor::new(bytes), Path::new("checkpoint_final.pth"))
}

fn parse(bytes: &[u8]) -> Result<Node, PickleError> {
    Pickle::parse(bytes).map(|pickle| pickle.get(pickle.root()).clone())
}

fn small() -> File {
    let tensor =
        |name: &str| Saved { name: name.into(), shape: vec![2, 3], values: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0] };
    File {
        tensors: vec![tensor("b"), tensor("a")],
        trainer: "nnUNetTrainer",
        configuration: "3d_fullres",
        byteorder: "little",
        mirror: b"N",
        surplus: 0,
    }
}

#[test]
fn calls_are_refused_by_name_and_never_made() {
    for pickle in [
        b"cos\nsystem\n(S'touch /tmp/x'\ntR.".as_slice(),
        b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R.",
        b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x011\x85R.",
        b"(S'true'\nios\nsystem\n.",
        b"(cos\nsystem\nS'true'\no.",
        b"\x80\x02c__builtin__\ngetattr\n.",
        b"\x80\x02csubprocess\nPopen\n)\x81.",
        b"\x80\x04\x8c\x05torch\x8c\x09os.system\x93.",
    ] {
        assert!(matches!(parse(pickle), Err(PickleError::Forbidden { .. })), "{pickle:?}");
    }
    let archive = zip(&[("data.pkl".into(), b"cos\nsystem\n(S'true'\ntR.".to_vec())]);
    let error = open(archive).unwrap_err();
    assert!(error.to_string().contains("checkpoint_final.pth"), "{error}");
    let NnUnetError::Pickle { source: PickleError::Forbidden { name }, .. } = error else { panic!("{error}") };
    assert_eq!(name, "os.system");
}

#[test]
fn unknown_classes_become_opaque_leaves() {
    let opaque = |name: &str| Ok(Node::Opaque(name.into()));
    assert_eq!(parse(b"cnumpy\nmatrix\n(S'f8'\ntR."), opaque("numpy.matrix"));
    // State, items and entries of an unknown object are dropped.
    assert_eq!(parse(b"\x80\x02cmine\nThing\n)\x81}bK\x01aK\x01K\x02s(K\x01K\x02u."), opaque("mine.Thing"));
    assert_eq!(parse(b"\x80\x04\x8c\x04mine\x8c\x05Thing\x93)}\x92."), opaque("mine.Thing"));
}

#[test]
fn integers_of_every_size() {
    for (pickle, expected) in [
        (b"\x8a\x00.".as_slice(), Node::Int(0)),
        (b"\x8a\x01\xff.", Node::Int(-1)),
        (b"\x8a\x02\xff\x00.", Node::Int(255)),
        (b"\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x80.", Node::Int(i64::MIN)),
        (b"\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x80\xff.", Node::Int(i64::MIN)),
        (b"\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x80\x00.", Node::BigInt),
        (b"\x8a\x09\x01\x00\x00\x00\x00\x00\x00\x00\xff.", Node::BigInt),
        (b"\x8b\x02\x00\x00\x00\x00\x80.", Node::Int(-32768)),
        (b"I01\n.", Node::Bool(true)),
        (b"I-12\n.", Node::Int(-12)),
        (b"L-12L\n.", Node::Int(-12)),
        (b"L123456789012345678901234567890L\n.", Node::BigInt),
    ] {
        assert_eq!(parse(pickle), Ok(expected), "{pickle:?}");
    }
    assert!(parse(b"\x8b\xff\xff\xff\xff.").is_err());
    assert!(parse(b"Ix\n.").is_err());
}

#[test]
fn shared_values_are_one_value() {
    // The dictionary is memoised, referred to twice, and only then filled.
    let pickle = Pickle::parse(b"\x80\x02}q\x01h\x01\x86q\x02h\x01X\x01\x00\x00\x00kK\x07s0.").unwrap();
    let items = pickle.items(pickle.root()).unwrap();
    assert_eq!(items[0], items[1]);
    for item in items {
        assert_eq!(pickle.int(pickle.entry(*item, "k").unwrap()), Some(7));
    }
    // A list that holds itself.
    assert!(matches!(parse(b"]q\x00h\x00a."), Ok(Node::List(items)) if items.len() == 1));
}

#[test]
fn texts_of_all_protocols() {
    for pickle in [
        b"S'a\\x62\\n'\n.".as_slice(),
        b"S\"a\\x62\\n\"\n.",
        b"Vab\\u000a\n.",
        b"\x8c\x03ab\n.",
        b"X\x03\x00\x00\x00ab\n.",
        b"\x8d\x03\x00\x00\x00\x00\x00\x00\x00ab\n.",
        b"U\x03ab\n.",
        b"T\x03\x00\x00\x00ab\n.",
    ] {
        assert_eq!(parse(pickle), Ok(Node::Str("ab\n".into())), "{pickle:?}");
    }
}

#[test]
fn lengths_are_checked_against_the_bytes() {
    for pickle in [
        b"X\xff\xff\xff\xffab".as_slice(),
        b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffab",
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7fab",
        b"\x96\xff\xff\xff\xff\xff\xff\xff\x7fab",
        b"B\xff\xff\xff\x7fab",
        b"\x8a\xffab",
        b"",
        b"N",
        b"S'abc",
    ] {
        assert!(matches!(parse(pickle), Err(PickleError::Truncated { .. })), "{pickle:?}");
    }
    for pickle in
        [b".".as_slice(), b"a.", b"(.", b"t.", b"h\x05.", b"N(0u.", b"Nb.", b"NNs.", b"N)R.", b"(o.", b"NN\x93."]
    {
        assert!(matches!(parse(pickle), Err(PickleError::Malformed { .. })), "{pickle:?}");
    }
    // The extension registry, out-of-band buffers, and nonsense.
    for opcode in [0x82, 0x83, 0x84, 0x97, 0x98, b'Z', 0xff] {
        assert_eq!(parse(&[opcode, 0, 0, 0, 0]), Err(PickleError::UnknownOpcode { opcode, offset: 0 }));
    }
    assert!(matches!(parse(&vec![b'('; MAX_DEPTH + 1]), Err(PickleError::TooLarge { .. })));
    // One memoised list, copied again and again into ordered dictionaries.
    let mut copies = b"](".to_vec();
    copies.extend(b"NN\x86".repeat(3000));
    copies.extend(b"eq\x00");
    copies.extend(b"ccollections\nOrderedDict\nq\x01");
    copies.extend(b"h\x01h\x00\x85R".repeat(3000));
    assert!(matches!(parse(&copies), Err(PickleError::TooLarge { what: "dictionary entries", .. })));
}

#[test]
fn the_order_and_values_of_weights_are_kept() {
    let mut checkpoint = open(small().zip()).unwrap();
    let names: Vec<&str> = checkpoint.weights().map(|(name, _)| name).collect();
    assert_eq!(names, ["b", "a"]);
    assert_eq!(checkpoint.read_f32("a").unwrap(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    assert!(checkpoint.read_f32("c").is_err());
}

#[test]
fn old_and_foreign_files_are_told_apart() {
    assert!(open(b"hello".to_vec()).unwrap_err().to_string().contains("not a readable PyTorch checkpoint"));
    assert!(open(zip(&[("x".into(), Vec::new())])).unwrap_err().to_string().contains("no data.pkl"));
    let state_dict = zip(&[("data.pkl".into(), b"\x80\x02}.".to_vec())]);
    assert!(open(state_dict).unwrap_err().to_string().contains("it has no `network_weights`"));
    // A tensor that reaches beyond its storage.
    let mut outside = Writer::default();
    outside.raw(b"\x80\x02}").text("network_weights").raw(b"}").text("w");
    outside.raw(b"ctorch._utils\n_rebuild_tensor_v2\n((").text("storage").raw(b"ctorch\nFloatStorage\n");
    outside.text("0").text("cpu").int(4).raw(b"tQK\x01K\x04\x85K\x01\x85\x89}tRss.");
    let error = open(zip(&[("data.pkl".into(), outside.0)])).unwrap_err().to_string();
    assert!(error.contains("the tensor `w` is not described"), "{error}");
}

#[test]
fn files_without_an_archive_are_read() {
    let mut file = small();
    file.tensors[1].values = vec![-1.0, -2.0, -3.0, -4.0, -5.0, -6.0];
    // More pickle than is read at first, in an entry that nobody asks for.
    let long = vec![b'x'; 3 << 20];
    file.mirror = [b"N".as_slice(), b"X\x04\x00\x00\x00logsX\x00\x00\x30\x00", &long].concat().leak();
    let mut checkpoint = open(file.old()).unwrap();
    assert_eq!((checkpoint.trainer_name(), checkpoint.configuration()), ("nnUNetTrainer", "3d_fullres"));
    assert_eq!(checkpoint.read_f32("a").unwrap(), file.tensors[1].values);
    assert_eq!(checkpoint.read_f32("b").unwrap(), file.tensors[0].values);
}

#[test]
fn broken_files_without_an_archive_are_refused() {
    let refused = |bytes: Vec<u8>, says: &str| {
        let read = open(bytes).and_then(|mut c| c.read_f32("a").and(c.read_f32("b")));
        let error = read.unwrap_err();
        let source = std::error::Error::source(&error).map_or(String::new(), |e| e.to_string());
        assert!(format!("{error}: {source}").contains(says), "{error}: {source}");
    };
    let whole = small().old();
    refused(OLD_MAGIC.to_vec(), "the pickle ends");
    refused(whole[..whole.len() - 1].to_vec(), "6 values of the storage 0 do not fit between byte");
    refused(File { byteorder: "big", ..small() }.old(), "big-endian");
    refused(File { surplus: 1, ..small() }.old(), "which the file does not hold");
    let changed = |from: &[u8], to: &[u8]| {
        let at = whole.windows(from.len()).rposition(|w| w == from).unwrap();
        [&whole[..at], to, &whole[at + from.len()..]].concat()
    };
    refused(changed(b"M\xe9\x03", b"M\xe8\x03"), "not in version 1001");
    refused(
        changed(b"ctorch\nFloatStorage", b"ctorch\nQuIntStorage"),
        "the type of the numbers in the storage 1 is not known",
    );
    refused(changed(b"X\x01\x00\x00\x000e.", b"X\x01\x00\x00\x007e."), "the storage 7 is not known");
    // The first storage claims 2^61 values, which overflow as bytes.
    let count = 6u64.to_le_bytes();
    let at = whole.windows(8).position(|w| w == count).unwrap();
    let huge = [&whole[..at], &(1u64 << 61).to_le_bytes(), &whole[at + 8..]].concat();
    refused(huge, "do not fit between");
}

/// Reads all that a file offers; nothing of it may panic.
fn read_all(bytes: Vec<u8>) {
    if let Ok(mut checkpoint) = open(bytes) {
        let names: Vec<String> = checkpoint.weights().map(|(name, _)| name.to_string()).collect();
        for name in names {
            let _ = checkpoint.read_f32(&name);
        }
    }
}

fn mutated(mut bytes: Vec<u8>, changes: &[(prop::sample::Index, u8)], keep: prop::sample::Index) -> Vec<u8> {
    for (place, value) in changes {
        let place = place.index(bytes.len());
        bytes[place] = *value;
    }
    // Every other file is also cut short.
    if keep.index(2) == 0 {
        bytes.truncate(keep.index(bytes.len()));
    }
    bytes
}

fn changes() -> impl Strategy<Value = Vec<(prop::sample::Index, u8)>> {
    prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6)
}

proptest! {
    // PROPTEST_CASES asks for more.
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(2000)))]

    #[test]
    fn random_pickles_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Pickle::parse(&bytes);
    }

    #[test]
    fn random_programs_never_panic(opcodes in prop::collection::vec(
        prop::sample::select(b".012FGIJKLMNPQRSTUVXabcdeghijlopqrst}u()]\n\x80\x81\x85\x86\x87\x88\x89\x8a\x8c\x8f\x90\x91\x92\x93\x94\x95\x01\x00'1".to_vec()),
        0..200,
    )) {
        let _ = Pickle::parse(&opcodes);
    }

    #[test]
    fn mutated_pickles_never_panic(changes in changes(), keep: prop::sample::Index) {
        let file = small();
        let pickle = mutated(file.pickle(), &changes, keep);
        let storage = ("data/0".to_string(), vec![0; 24]);
        read_all(zip(&[("data.pkl".into(), pickle), storage]));
    }

    #[test]
    fn mutated_archives_never_panic(changes in changes(), keep: prop::sample::Index) {
        read_all(mutated(small().zip(), &changes, keep));
    }

    #[test]
    fn mutated_old_files_never_panic(changes in changes(), keep: prop::sample::Index) {
        read_all(mutated(small().old(), &changes, keep));
    }

    #[test]
    fn mutated_json_never_panics(changes in changes(), keep: prop::sample::Index) {
        let plans = include_bytes!("../../../../tests/golden/nnunet/plain_bare/plans.json").to_vec();
        if let Ok(text) = String::from_utf8(mutated(plans, &changes, keep))
            && let Ok(plans) = Plans::parse(&text, Path::new("plans.json"))
        {
            let _ = plans.configuration("3d_fullres", 1);
        }
        let dataset = include_bytes!("../../../../tests/golden/nnunet/plain_regions/dataset.json").to_vec();
        if let Ok(text) = String::from_utf8(mutated(dataset, &changes, keep)) {
            let _ = Dataset::parse(&text, Path::new("dataset.json"));
        }
    }
}
