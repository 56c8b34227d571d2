//! Compiled models that were damaged or made to do harm: each is refused or runs, and what runs gives the same logits
//! whatever memory held before.
#![allow(missing_docs)]

use proptest::prelude::*;
use scanside_core::executor::Serial;
use scanside_core::network::{
    ConvGeometry, Graph, GraphBuilder, Image, ImageError, Isa, Kind, Network, Quant, Squash, Storage, ValueSpec,
    Weights,
};
use scanside_core::patch::{Patch, PatchMut};
use scanside_core::workspace::{Block, numbers, numbers_mut};
use scanside_testing::numbers::{bits, values};
use std::ops::Range;
use std::time::{Duration, Instant};

const HEADER: usize = 64;
const ENTRY: usize = 32;
const GRAPH: u32 = 2;
const WEIGHTS: u32 = 3;

/// What may be asked of a run in a test.
const MOST_BLOCKS: usize = (64 << 20) / 64;
const MOST_MACS: u64 = 20_000_000;

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn sections(bytes: &[u8]) -> Vec<(u32, Range<usize>)> {
    let section = |i: usize| {
        let entry = &bytes[HEADER + ENTRY * i..][..ENTRY];
        let (start, len) = (word(entry, 8) as usize, word(entry, 16) as usize);
        (word(entry, 0), start..start + len)
    };
    (0..word(bytes, 12) as usize).map(section).collect()
}

/// Makes length and checksum those of the bytes.
fn mend(bytes: &mut [u8]) {
    if bytes.len() >= HEADER {
        let (len, sum) = (bytes.len() as u64, crc32fast::hash(&bytes[HEADER..]));
        bytes[16..24].copy_from_slice(&len.to_le_bytes());
        bytes[24..28].copy_from_slice(&sum.to_le_bytes());
    }
}

/// An image of these sections alone, whatever they hold.
fn image_of(sections: &[(u32, u32, Vec<u8>)]) -> Vec<u8> {
    let mut out = vec![0; (HEADER + ENTRY * sections.len()).next_multiple_of(64)];
    out[..12].copy_from_slice(b"SCANSIDE\x01\0\x01\0");
    out[12..16].copy_from_slice(&(sections.len() as u32).to_le_bytes());
    for (i, (kind, fold, bytes)) in sections.iter().enumerate() {
        let offset = out.len() as u64;
        let entry = &mut out[HEADER + ENTRY * i..][..ENTRY];
        entry[..4].copy_from_slice(&kind.to_le_bytes());
        entry[4..8].copy_from_slice(&fold.to_le_bytes());
        entry[8..16].copy_from_slice(&offset.to_le_bytes());
        entry[16..24].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
        out.extend_from_slice(bytes);
        out.resize(out.len().next_multiple_of(64), 0);
    }
    mend(&mut out);
    out
}

fn image_of_graph(graph: &Graph, weights: &[u8]) -> Vec<u8> {
    image_of(&[(GRAPH, 0, postcard::to_allocvec(graph).unwrap()), (WEIGHTS, 0, weights.to_vec())])
}

fn aligned(bytes: &[u8]) -> Vec<Block> {
    let mut blocks = vec![Block::ZERO; bytes.len().div_ceil(64)];
    numbers_mut(&mut blocks)[..bytes.len()].copy_from_slice(bytes);
    blocks
}

/// Opens bytes as a program does that knows nothing of them; the manifest may be refused while the networks are not.
fn open<T>(bytes: &[u8], use_networks: impl FnOnce(Vec<Network<'_>>) -> T) -> Result<T, ImageError> {
    let blocks = aligned(bytes);
    let image = Image::open(&numbers::<u8>(&blocks)[..bytes.len()])?;
    let _ = image.manifest();
    let _ = image.manifest_json();
    image.networks(Isa::detect()).map(use_networks)
}

/// Logits of a network in a workspace whose bytes are `fill` before the run.
fn logits(network: &Network<'_>, blocks: usize, fill: [u8; 4]) -> Vec<u32> {
    let voxels: usize = network.graph().patch.iter().product();
    let input = values(network.graph().channels * voxels, 3);
    let mut output = vec![f32::from_le_bytes(fill); network.graph().heads * voxels];
    let mut workspace = vec![Block::ZERO; blocks];
    for (byte, fill) in numbers_mut::<u8>(&mut workspace).iter_mut().zip(fill.iter().cycle()) {
        *byte = *fill;
    }
    network.run(Patch::F32(&input), PatchMut::F32(&mut output), &mut workspace, &Serial, &mut ());
    bits(&output)
}

/// Runs a network that is small enough for a test; whatever memory held before, the logits are the same.
fn run(network: &Network<'_>) {
    let graph = network.graph();
    let voxels: usize = graph.patch.iter().product();
    let (roomy, least) = (network.workspace_blocks(1), network.least_workspace_blocks(1));
    let large = roomy > MOST_BLOCKS || graph.macs() > MOST_MACS;
    if large || network.run_bytes(1) > 64 * MOST_BLOCKS || voxels * (graph.channels + graph.heads) > 16 * MOST_BLOCKS {
        return;
    }
    let zeros = logits(network, roomy, [0; 4]);
    // All bits: NaN in each precision of floats.
    assert_eq!(zeros, logits(network, roomy, [0xff; 4]), "after NaN");
    assert_eq!(zeros, logits(network, least, 1f32.to_le_bytes()), "after 1, in the least memory");
}

fn student() -> Vec<u8> {
    scanside_testing::student::write().expect("a compiled student")
}

#[test]
fn damage_is_refused() {
    let bytes = student();
    let opens = |bytes: &[u8]| open(bytes, |_| ()).is_ok();
    assert!(opens(&bytes));
    for len in (0..bytes.len()).step_by(61) {
        assert!(!opens(&bytes[..len]), "cut to {len}");
    }
    // The minor version, of which any is read, and what is reserved.
    let unchecked = |at: usize| (10..12).contains(&at) || (28..64).contains(&at);
    for at in (0..4096).chain((4096..bytes.len()).step_by(97)) {
        for flip in [1u8, 0x80, 0xff] {
            let mut bytes = bytes.clone();
            bytes[at] ^= flip;
            assert!(!opens(&bytes) || unchecked(at), "byte {at}");
        }
    }
    let mut changed = bytes.clone();
    *changed.last_mut().unwrap() ^= 1;
    let refused = open(&changed, |_| ()).unwrap_err().to_string();
    assert!(
        refused.starts_with("checksum mismatch (header 0x") && refused.ends_with("copy the file again"),
        "{refused}"
    );
    let refused = open(&bytes[..bytes.len() - 64], |_| ()).unwrap_err().to_string();
    assert!(refused.contains(&format!("names {}; copy the file again", bytes.len())), "{refused}");
}

/// Every byte that is not a weight takes other values, with a checksum to match; what is accepted is run.
#[test]
fn changed_images_are_refused_or_run() {
    let bytes = student();
    let sections = sections(&bytes);
    let places = (HEADER..HEADER + ENTRY * sections.len())
        .chain(sections.iter().filter(|(kind, _)| *kind != WEIGHTS).flat_map(|(_, range)| range.clone()));
    let (mut accepted, mut all) = (0, 0);
    for at in places {
        for flip in [1u8, 2, 4, 0x80, 0xff] {
            let mut bytes = bytes.clone();
            bytes[at] ^= flip;
            mend(&mut bytes);
            all += 1;
            accepted += usize::from(open(&bytes, |networks| networks.iter().for_each(run)).is_ok());
        }
    }
    for len in (HEADER..bytes.len()).step_by(61) {
        let mut bytes = bytes[..len].to_vec();
        mend(&mut bytes);
        let _ = open(&bytes, |networks| networks.iter().for_each(run));
    }
    println!("{accepted} of {all} changed images were accepted and run");
    assert!(accepted > 0 && accepted < all);
}

proptest! {
    /// Several bytes at once, those of graphs and weights alike.
    #[test]
    fn images_with_many_changes_are_refused_or_run(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        fold in 0usize..2,
        weights in any::<bool>(),
    ) {
        let mut bytes = student();
        let kind = if weights { WEIGHTS } else { GRAPH };
        let all = sections(&bytes);
        let (_, range) = all.iter().filter(|(k, _)| *k == kind).nth(fold).unwrap();
        for (index, value) in changes {
            bytes[range.start + index.index(range.len())] = value;
        }
        mend(&mut bytes);
        let _ = open(&bytes, |networks| networks.iter().for_each(run));
    }
}

/// A network of one step.
fn softmax(buffers: usize) -> Graph {
    let mut b = GraphBuilder::new(1, [1, 1, 4], false);
    let v = b.squash("p", b.input(), Squash::Softmax);
    let (graph, _) = b.finish(v).unwrap();
    Graph { buffers, ..graph }
}

/// What opening did, and that it did not take long: a second is far more than any of these needs, and far less than what
/// grows with a number in the file.
fn quickly(bytes: &[u8]) -> Result<(), String> {
    let start = Instant::now();
    let opened = open(bytes, |_| ()).map_err(|e| e.to_string());
    let took = start.elapsed();
    println!("{} bytes took {took:?}: {opened:?}", bytes.len());
    assert!(took < Duration::from_secs(1), "{} bytes took {took:?}", bytes.len());
    opened
}

#[test]
fn a_short_image_opens_or_is_refused_at_once() {
    let bytes = image_of_graph(&softmax(1 << 16), &[]);
    assert!(bytes.len() <= 448, "{} bytes", bytes.len());
    assert!(quickly(&bytes).unwrap_err().contains("65536 buffers"));
    // A list of steps that is longer than the file.
    let mut graph = postcard::to_allocvec(&softmax(1)).unwrap();
    let list = graph.iter().rposition(|&b| b == b'p').unwrap() - 2;
    assert_eq!(graph[list..list + 3], [1, 1, b'p']);
    graph.splice(list..list + 1, [0xff, 0xff, 0xff, 0xff, 0x0f]);
    assert!(quickly(&image_of(&[(GRAPH, 0, graph)])).unwrap_err().contains("cannot be read"));
}

#[test]
fn many_tensors_open_in_proportion() {
    // As many steps as there may be, whose outputs are all in use until the last adds them.
    let mut b = GraphBuilder::new(1, [1, 1, 4], false);
    let all: Vec<ValueSpec> = (0..1022).map(|_| b.settle("s", b.input())).collect();
    let (graph, weights) = {
        let v = b.concat(all);
        let v = b.settle("all", v);
        b.finish(v).unwrap()
    };
    quickly(&image_of_graph(&graph, weights.bytes())).unwrap();
    let more = Graph { steps: vec![graph.steps[0].clone(); 1025], buffers: 1, ..graph };
    assert!(quickly(&image_of_graph(&more, weights.bytes())).unwrap_err().contains("1025 steps"));
}

#[test]
fn folds_do_not_share_their_bytes() {
    let graph = postcard::to_allocvec(&softmax(1)).unwrap();
    let mut sections = vec![(GRAPH, 0, graph)];
    sections.extend((0..4000u32).map(|i| (if i % 2 == 0 { WEIGHTS } else { GRAPH }, i.div_ceil(2), vec![])));
    let mut bytes = image_of(&sections);
    let first = bytes[HEADER + 8..HEADER + 24].to_vec();
    for i in (2..4001).step_by(2) {
        bytes[HEADER + ENTRY * i + 8..][..16].copy_from_slice(&first);
    }
    mend(&mut bytes);
    assert!(quickly(&bytes).unwrap_err().contains("section 2, 0x"));
}

/// Storage in bytes, in place sums and grids, which the student has not.
#[test]
fn a_network_of_bytes_gives_the_same_logits_in_any_memory() {
    let mut b = GraphBuilder::new(1, [4, 6, 8], false);
    let quant = Quant { scale: 0.05, zero: 100 };
    let g = ConvGeometry {
        cin: 1,
        cout: 6,
        input: [4, 6, 8],
        output: [4, 6, 8],
        kernel: [3; 3],
        stride: [1; 3],
        dilation: [1; 3],
        pad: [1; 3],
    };
    let v = b.conv("first", b.input(), &g, &values(27 * 6, 1), &[0.1; 6], false);
    let v = b.on_grid("grid", v, quant, true);
    let g = ConvGeometry { cin: 6, ..g };
    let bytes: Vec<i8> = (0..27 * 36).map(|i| (i * 37 % 255 - 127) as i8).collect();
    let v = b.conv_int("second", v, &g, &bytes, &[0.01; 6], &[0.0; 6], quant).unwrap();
    let twice = b.settle("copy", v.clone());
    let v = b.add("sum", v, twice, true);
    let (graph, weights) = b.finish(v).unwrap();
    assert!(graph.steps.iter().any(|s| matches!(s.storage, Storage::U8(_))));
    assert!(graph.steps.iter().any(|s| matches!(s.kind, Kind::Sum { in_place: Some(_) })));
    for isa in Isa::available() {
        let Weights::Owned(blocks) = &weights else { panic!() };
        run(&Network::new(isa, graph.clone(), Weights::Owned(blocks.clone())).unwrap());
    }
}
