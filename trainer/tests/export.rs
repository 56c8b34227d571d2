//! Networks that nnU-Net's own classes made, read, exported again, and compared with what PyTorch answered.

mod libtorch;

use libtorch::OnLibtorch;
use scanside_app::error::ErrorKind;
use scanside_core::engine::Engine;
use scanside_core::executor::Serial;
use scanside_core::manifest::Manifest;
use scanside_core::nnunet::architecture::UNet;
use scanside_core::nnunet::checkpoint::Checkpoint;
use scanside_core::nnunet::layers::Layers;
use scanside_core::nnunet::{FoldName, ImportOptions, import_folder};
use scanside_core::onnx::{self, OnnxEngine, Settings};
use scanside_core::patch::{Patch, PatchMut};
use scanside_core::workspace::Block;
use scanside_testing::data::data;
use scanside_trainer::export::onnx::{Precision, model};
use scanside_trainer::export::plans::Described;
use scanside_trainer::export::{self, ModelFacts, TrainedNetwork, nnunet, tensors};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Folders made by `tests/golden/make_nnunet.py`, with the fold looked at.
const VARIANTS: [(&str, u32); 5] =
    [("plain_regions", 0), ("resenc_folds", 2), ("resenc_bottleneck", 0), ("plain_bare", 0), ("legacy_2d", 0)];

fn golden(variant: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/nnunet").join(variant)
}

fn network(variant: &str, fold: u32) -> (TrainedNetwork, ModelFacts) {
    read(&golden(variant), fold)
}

fn read(folder: &Path, fold: u32) -> (TrainedNetwork, ModelFacts) {
    let text = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    let mut checkpoint = Checkpoint::open(&folder.join(format!("fold_{fold}/checkpoint_final.pth"))).unwrap();
    let facts = ModelFacts {
        plans: text("plans.json"),
        dataset: text("dataset.json"),
        configuration: checkpoint.configuration().into(),
        trainer_name: checkpoint.trainer_name().into(),
        fold: FoldName::Number(fold),
        mirror_axes: checkpoint.mirror_axes().to_vec(),
        provenance: [("run".to_owned(), "golden".to_owned())].into(),
        accuracy: [("mean_dice".to_owned(), 0.5)].into(),
        measured: Vec::new(),
        family: Vec::new(),
    };
    let unet = Described::read(&facts.plans, &facts.dataset, &facts.configuration, &facts.trainer_name).unwrap().unet;
    let mut weights = BTreeMap::new();
    for tensor in Layers::of(&unet).expected() {
        let values = checkpoint.read_f32(tensor.name()).unwrap();
        weights.insert(tensor.names[0].clone(), (tensor.shape, values));
    }
    (TrainedNetwork::new(unet, weights).unwrap(), facts)
}

fn patch(facts: &ModelFacts) -> Vec<usize> {
    Described::read(&facts.plans, &facts.dataset, &facts.configuration, &facts.trainer_name)
        .unwrap()
        .configuration
        .patch
}

/// PyTorch's input and logits of the fold.
fn expected(variant: &str, fold: u32) -> (Vec<f32>, Vec<f32>) {
    let facts: serde_json::Value =
        serde_json::from_slice(&fs::read(golden(variant).join("expected.json")).unwrap()).unwrap();
    let len =
        |key: &str| facts[key].as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).product::<usize>();
    let place = facts["folds"].as_array().unwrap().iter().position(|f| *f == fold).unwrap();
    let bytes = fs::read(golden(variant).join("expected.f32")).unwrap();
    let values: Vec<f32> = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    let (input, logits) = values.split_at(len("input_shape"));
    (input.to_vec(), logits.chunks_exact(len("output_shape")).nth(place).unwrap().to_vec())
}

fn without_origin(mut manifest: Manifest) -> Manifest {
    (manifest.provenance, manifest.accuracy, manifest.graph_sha256) = Default::default();
    (manifest.envelope, manifest.card) = Default::default();
    manifest
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn entries(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

#[test]
fn the_comparison_network_answers_as_pytorch_did() {
    for (variant, fold) in VARIANTS {
        let (network, facts) = network(variant, fold);
        let (input, logits) = expected(variant, fold);
        let answer = OnLibtorch::new(&network, &patch(&facts)).logits(&input);
        assert!(largest_difference(&answer, &logits) <= 1e-5, "{variant}");
    }
}

#[test]
fn folders_come_back_with_every_copy_of_every_tensor() {
    let place = tempfile::tempdir().unwrap();
    for (variant, fold) in VARIANTS {
        let (network, facts) = network(variant, fold);
        let folder = place.path().join("new").join(variant);
        nnunet::write(&folder, &network, &facts).unwrap();

        let options = ImportOptions { folds: Some(vec![FoldName::Number(fold)]), ..ImportOptions::default() };
        let (theirs, their_graph) = import_folder(&golden(variant), &options).unwrap();
        let (ours, our_graph) = import_folder(&folder, &options).unwrap();
        assert_eq!(without_origin(theirs), without_origin(ours), "{variant}");
        assert_eq!(their_graph.graph_sha256(), our_graph.graph_sha256(), "{variant}");
        for name in ["plans.json", "dataset.json"] {
            assert_eq!(fs::read(folder.join(name)).unwrap(), fs::read(golden(variant).join(name)).unwrap());
        }

        let mut checkpoint = Checkpoint::open(&folder.join(format!("fold_{fold}/checkpoint_final.pth"))).unwrap();
        let mut names = 0;
        for tensor in Layers::of(network.unet()).expected() {
            names += tensor.names.len();
            for name in &tensor.names {
                assert_eq!(checkpoint.read_f32(name).unwrap(), network.weights()[&tensor.names[0]].1, "{name}");
            }
        }
        assert_eq!(checkpoint.weights().count(), names);
        assert_eq!(checkpoint.trainer_name(), facts.trainer_name);
        assert_eq!(checkpoint.mirror_axes(), facts.mirror_axes);
    }
    assert_eq!(entries(&place.path().join("new")), VARIANTS.len());
}

#[test]
fn checkpoints_are_laid_out_as_pytorchs() {
    let place = tempfile::tempdir().unwrap();
    let (network, facts) = network("plain_regions", 0);
    nnunet::write(&place.path().join("m"), &network, &facts).unwrap();
    let file = fs::File::open(place.path().join("m/fold_0/checkpoint_final.pth")).unwrap();
    let mut archive = zip::ZipArchive::new(file).unwrap();
    let mut storages = 0;
    for i in 0..archive.len() {
        let entry = archive.by_index(i).unwrap();
        assert_eq!(entry.compression(), zip::CompressionMethod::Stored);
        assert_eq!(entry.data_start().unwrap() % 64, 0, "{}", entry.name().unwrap());
        storages += usize::from(entry.name().unwrap().contains("/data/"));
    }
    // Copies share their storage.
    assert_eq!(storages, Layers::of(network.unet()).expected().len());
}

#[test]
fn onnx_files_describe_the_same_model_as_importing_the_folder() {
    for (variant, fold) in VARIANTS {
        let (network, facts) = network(variant, fold);
        let options = ImportOptions { folds: Some(vec![FoldName::Number(fold)]), ..ImportOptions::default() };
        let (theirs, their_graph) = import_folder(&golden(variant), &options).unwrap();
        let (ours, our_graph) = model(&network, &facts, Precision::F32).unwrap();
        assert_eq!(ours.provenance, facts.provenance);
        assert_eq!(ours.accuracy, facts.accuracy);
        assert_eq!(without_origin(ours), without_origin(theirs), "{variant}");
        assert_eq!(our_graph.graph_sha256(), their_graph.graph_sha256(), "{variant}");
    }
}

#[test]
fn onnx_files_are_compared_with_libtorch_and_answer_as_pytorch() {
    let place = tempfile::tempdir().unwrap();
    for (variant, fold) in VARIANTS {
        let (network, facts) = network(variant, fold);
        let (input, logits) = expected(variant, fold);
        let spread = {
            let mean = logits.iter().sum::<f32>() / logits.len() as f32;
            (logits.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / logits.len() as f32).sqrt()
        };
        let torch = OnLibtorch::new(&network, &patch(&facts));
        for (precision, name, tolerance) in [(Precision::F32, "f32", 1e-4), (Precision::F16, "f16", 3e-2)] {
            let path = place.path().join(format!("{variant}_{name}.onnx"));
            let written =
                export::onnx::write(&path, &network, &facts, precision, &mut |patch| Ok(torch.logits(patch))).unwrap();
            println!("{variant} {name}: {written:?}");

            let loaded = onnx::load(&path, None).unwrap();
            let engine = OnnxEngine::new(loaded.model.clone(), &loaded.manifest, Settings::default()).unwrap();
            assert_eq!(engine.summary().precision, name);
            assert_eq!(engine.not_lowered(), None, "{variant}");
            let settings = Settings { half: Some(false), ..Settings::default() };
            let engine = OnnxEngine::new(loaded.model, &loaded.manifest, settings).unwrap();
            let mut answer = vec![0.0; logits.len()];
            let mut workspace = vec![Block::ZERO; engine.footprint(1).workspace_blocks];
            engine.infer(0, Patch::F32(&input), PatchMut::F32(&mut answer), &mut workspace, &Serial).unwrap();
            let difference = largest_difference(&answer, &logits) / spread;
            assert!(difference <= tolerance, "{variant} {name}: {difference}");
        }
    }
}

#[test]
fn a_file_that_answers_otherwise_does_not_appear() {
    let place = tempfile::tempdir().unwrap();
    let (network, facts) = network("plain_regions", 0);
    let path = place.path().join("m.onnx");
    let torch = OnLibtorch::new(&network, &patch(&facts));
    let mut wrong = |patch: &[f32]| {
        let mut logits = torch.logits(patch);
        logits[7] += 0.01;
        Ok(logits)
    };
    let error = export::onnx::write(&path, &network, &facts, Precision::F32, &mut wrong).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Model);
    assert!(error.chain().contains("more than the 1e-3 that rounding explains"), "{}", error.chain());
    let error = export::onnx::write(&path, &network, &facts, Precision::F32, &mut |_| Ok(vec![0.0])).unwrap_err();
    assert!(error.chain().contains("gives 1 logits"), "{}", error.chain());
    assert_eq!(entries(place.path()), 0);
}

/// A network of half the channels with weights of its own.
fn student() -> (TrainedNetwork, ModelFacts) {
    let (teacher, facts) = network("resenc_folds", 0);
    let mut unet: UNet = teacher.unet().clone();
    unet.stages.iter_mut().for_each(|stage| stage.features /= 2);
    if let scanside_core::nnunet::architecture::Encoder::Residual { stem_features, .. } = &mut unet.encoder {
        *stem_features = unet.stages[0].features;
    }
    let weights = Layers::of(&unet).expected().into_iter().map(|tensor| {
        let values = (0..tensor.values()).map(|i| ((i * 7 + 3) % 11) as f32 * 0.1 - 0.5).collect();
        (tensor.names[0].clone(), (tensor.shape, values))
    });
    (TrainedNetwork::new(unet.clone(), weights.collect()).unwrap(), facts)
}

#[test]
fn students_say_their_own_channels() {
    let place = tempfile::tempdir().unwrap();
    let (student, facts) = student();
    let folder = place.path().join("student");
    nnunet::write(&folder, &student, &facts).unwrap();
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    let described =
        Described::read(&read("plans.json"), &read("dataset.json"), &facts.configuration, &facts.trainer_name).unwrap();
    assert_eq!(described.unet, *student.unet());
    let (_, graph) = import_folder(&folder, &ImportOptions::default()).unwrap();
    let (_, ours) = model(&student, &facts, Precision::F32).unwrap();
    assert_eq!(graph.graph_sha256(), ours.graph_sha256());
    let torch = OnLibtorch::new(&student, &patch(&facts));
    let path = place.path().join("student.onnx");
    export::onnx::write(&path, &student, &facts, Precision::F32, &mut |patch| Ok(torch.logits(patch))).unwrap();
}

#[test]
fn a_folder_takes_further_folds_of_its_own_training_only() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("m");
    let (first, facts) = network("resenc_folds", 0);
    let (second, second_facts) = network("resenc_folds", 2);
    nnunet::write(&folder, &first, &facts).unwrap();
    nnunet::write(&folder, &second, &second_facts).unwrap();
    let (theirs, their_graph) = import_folder(&golden("resenc_folds"), &ImportOptions::default()).unwrap();
    let (ours, our_graph) = import_folder(&folder, &ImportOptions::default()).unwrap();
    assert_eq!(without_origin(theirs), without_origin(ours));
    assert_eq!(their_graph.graph_sha256(), our_graph.graph_sha256());

    let again = nnunet::write(&folder, &first, &facts).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Output);
    assert!(again.to_string().contains("fold_0 already exists"), "{again}");
    let (other, mut other_facts) = network("plain_bare", 0);
    other_facts.fold = FoldName::All;
    let other = nnunet::write(&folder, &other, &other_facts).unwrap_err();
    assert!(other.to_string().contains("its plans.json is not this network's"), "{other}");
    assert_eq!(entries(place.path()), 1);
    assert_eq!(entries(&folder), 4);
}

#[test]
fn weights_that_do_not_fit_are_named() {
    let (network, facts) = network("plain_regions", 0);
    let with = |change: &dyn Fn(&mut BTreeMap<String, export::Tensor>)| {
        let mut weights = network.weights().clone();
        change(&mut weights);
        TrainedNetwork::new(network.unet().clone(), weights)
    };
    let head = "decoder.seg_layers.0.bias";
    let says = |change: &dyn Fn(&mut BTreeMap<String, export::Tensor>)| with(change).unwrap_err().to_string();
    assert_eq!(says(&|w| drop(w.remove(head))), format!("the weights have no `{head}`"));
    assert!(says(&|w| w.get_mut(head).unwrap().0 = vec![2]).contains("has the shape [2]"));
    assert!(says(&|w| w.get_mut(head).unwrap().1[0] = f32::NAN).contains("holds NaN: the training diverged"));
    assert!(says(&|w| drop(w.insert("x".into(), (vec![], vec![1.0])))).contains("have a `x`"));

    let large = with(&|w| w.get_mut(head).unwrap().1[0] = 1e5).unwrap();
    let error = model(&large, &facts, Precision::F16).unwrap_err();
    assert!(error.chain().contains("half precision ends at 65504"), "{}", error.chain());
    model(&large, &facts, Precision::F32).unwrap();
}

#[test]
fn safetensors_hold_short_names_and_the_plans_hash() {
    let place = tempfile::tempdir().unwrap();
    let (network, facts) = network("plain_regions", 0);
    let path = place.path().join("w.safetensors");
    tensors::write(&path, &network, &facts).unwrap();
    let file = tensors::read_tensors(&path).unwrap();
    assert_eq!(file.tensors, *network.weights());
    assert_eq!(file.metadata["plans_sha256"], tensors::sha256(&facts.plans));
    assert_eq!(file.metadata["run"], "golden");
    assert!(file.tensors.contains_key("encoder.stages.0.0.convs.0.conv.weight"));
}

#[test]
fn places_that_cannot_be_written_are_named() {
    let place = tempfile::tempdir().unwrap();
    let (network, facts) = network("plain_regions", 0);
    fs::write(place.path().join("file"), b"").unwrap();
    let inside = place.path().join("file/m");
    for error in [
        nnunet::write(&inside, &network, &facts).unwrap_err(),
        tensors::write(&inside, &network, &facts).unwrap_err(),
        export::onnx::write(&inside, &network, &facts, Precision::F32, &mut |_| Ok(vec![])).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Output, "{}", error.chain());
        assert!(error.chain().contains("file/m cannot be written"), "{}", error.chain());
    }
}

/// What it writes can be kept for `check_nnunet.py`, which runs the real nnU-Net on it.
#[test]
fn a_real_model_comes_back() {
    let Some(folder) = data("nnunet-hippocampus/model") else { return };
    let place = tempfile::tempdir().unwrap();
    let kept = std::env::var_os("SCANSIDE_KEEP_EXPORT").map(PathBuf::from);
    let out = kept.as_deref().unwrap_or(place.path());
    let (network, facts) = read(&folder, 0);
    nnunet::write(&out.join("model"), &network, &facts).unwrap();
    let (theirs, their_graph) = import_folder(&folder, &ImportOptions::default()).unwrap();
    let (ours, our_graph) = import_folder(&out.join("model"), &ImportOptions::default()).unwrap();
    assert_eq!(without_origin(theirs), without_origin(ours));
    assert_eq!(their_graph.graph_sha256(), our_graph.graph_sha256());
    let torch = OnLibtorch::new(&network, &patch(&facts));
    for (precision, name) in [(Precision::F32, "f32"), (Precision::F16, "f16")] {
        let path = out.join(format!("{name}.onnx"));
        let found =
            export::onnx::write(&path, &network, &facts, precision, &mut |patch| Ok(torch.logits(patch))).unwrap();
        println!("{name}: {found:?}, {} bytes", fs::metadata(&path).unwrap().len());
    }
}
