//! Networks compiled straight from their layers against the same networks by way of ONNX: equal to the byte.

use crate::manifest::Manifest;
use crate::network::Network;
use crate::nnunet::architecture::{Activation, Encoder, Norm, Stage, UNet};
use crate::nnunet::layers::Layers;
use crate::nnunet::to_network::{Plan, Stop};
use crate::nnunet::to_onnx::{ModelBuilder, Weights};
use crate::nnunet::{ImportOptions, ModelFolder, NnUnetError, import_folder};
use crate::onnx::{OnnxEngine, Settings};
use std::collections::HashMap;
use std::path::Path;

fn check_equal(what: &str, got: &[Network<'_>], wanted: &[Network<'_>]) {
    assert_eq!(got.len(), wanted.len(), "{what}");
    for (got, wanted) in got.iter().zip(wanted) {
        let names = |n: &Network<'_>| n.graph().steps.iter().map(|s| s.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(got), names(wanted), "{what}");
        for (got, wanted) in got.graph().steps.iter().zip(&wanted.graph().steps) {
            assert_eq!(got, wanted, "{what}");
        }
        assert_eq!(got.graph(), wanted.graph(), "{what}");
        assert!(got.weights().bytes() == wanted.weights().bytes(), "{what}: other weights");
    }
}

#[test]
fn folders_give_the_engine_of_their_onnx_model() {
    for (variant, compiled) in [
        ("plain_regions", true),
        ("resenc_folds", true),
        ("resenc_bottleneck", true),
        ("plain_bare", true),
        ("legacy_2d", true),
        // Whose norms tract folds into scales.
        ("batch_norm", false),
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/nnunet").join(variant);
        for half in [None, Some(true)] {
            let settings = Settings { half, ..Settings::default() };
            let options = ImportOptions::default();
            let mut folder = ModelFolder::open(&path, &options).unwrap();
            assert_eq!(folder.compiled(settings).unwrap().is_some(), compiled, "{variant}");
            let got = folder.engine(settings).unwrap();

            let (manifest, model) = import_folder(&path, &options).unwrap();
            assert_eq!(got.manifest, manifest, "{variant}");
            assert_eq!(got.graph_sha256, model.graph_sha256(), "{variant}");
            let wanted = OnnxEngine::new(model, &manifest, settings).unwrap();
            assert_eq!(got.engine.summary(), wanted.summary(), "{variant}");
            assert_eq!(got.engine.not_lowered(), wanted.not_lowered(), "{variant}");
            let networks = |engine: &OnnxEngine| engine.native().unwrap().networks().len();
            assert_eq!(networks(&got.engine), networks(&wanted));
            check_equal(variant, got.engine.native().unwrap().networks(), wanted.native().unwrap().networks());
        }
    }
}

/// Weights made up by name.
struct MadeUp(HashMap<String, usize>);

impl MadeUp {
    fn of(unet: &UNet) -> MadeUp {
        let tensors = Layers::of(unet).expected();
        MadeUp(tensors.iter().map(|t| (t.name().to_string(), t.values() as usize)).collect())
    }
}

impl Weights for MadeUp {
    fn read_f32(&mut self, name: &str) -> Result<Vec<f32>, NnUnetError> {
        let seed = name.bytes().fold(7usize, |n, b| n.wrapping_mul(31).wrapping_add(b.into()));
        Ok((0..self.0[name]).map(|i| (i.wrapping_mul(7919).wrapping_add(seed) % 2003) as f32 / 1000.0 - 1.0).collect())
    }
}

fn plain() -> UNet {
    let stage = |features, kernel: [usize; 3], stride: [usize; 3]| Stage {
        features,
        kernel: kernel.to_vec(),
        stride: stride.to_vec(),
    };
    UNet {
        input_channels: 2,
        heads: 3,
        stages: vec![stage(4, [1, 3, 3], [1; 3]), stage(6, [3; 3], [1, 2, 2]), stage(8, [3, 5, 3], [2; 3])],
        encoder: Encoder::Plain { convs: vec![2, 1, 3] },
        decoder_convs: vec![1, 2],
        conv_bias: true,
        norm: Norm::Instance { epsilon: 1e-5, affine: true },
        activation: Activation::Leaky(0.01),
        dropout: false,
        activation_first: false,
    }
}

fn residual(bottleneck: Option<Vec<usize>>) -> UNet {
    UNet { encoder: Encoder::Residual { blocks: vec![1, 2, 2], stem_features: 3, bottleneck }, ..plain() }
}

#[test]
fn every_kind_of_layer_is_compiled_as_by_way_of_onnx() {
    let instance = |affine| Norm::Instance { epsilon: 1e-3, affine };
    let cases = [
        ("plain", plain()),
        ("residual", residual(None)),
        ("bottleneck", residual(Some(vec![2, 3, 4]))),
        ("without affine and bias", UNet { norm: instance(false), conv_bias: false, ..plain() }),
        ("without norm", UNet { norm: Norm::Off, ..plain() }),
        ("residual without norm", UNet { norm: Norm::Off, ..residual(None) }),
        ("relu", UNet { activation: Activation::Relu, ..residual(None) }),
        ("leaky of slope 0", UNet { activation: Activation::Leaky(0.0), ..plain() }),
        ("without activation", UNet { activation: Activation::None, ..residual(None) }),
        ("activation first", UNet { activation_first: true, ..plain() }),
        ("no activation first", UNet { activation_first: true, activation: Activation::None, ..plain() }),
    ];
    let patch = [4, 8, 8];
    for (what, unet) in cases {
        for half in [false, true] {
            let mut builder = ModelBuilder::new(&unet, &patch);
            builder.add_fold(&mut MadeUp::of(&unet)).unwrap();
            let model = builder.finish("made up");
            let manifest: Manifest = model.neutral_manifest().unwrap();
            let settings = Settings { half: Some(half), ..Settings::default() };
            let wanted = OnnxEngine::new(model, &manifest, settings).unwrap();

            let layers = Layers::of(&unet);
            let plan = Plan { layers: &layers, channels: unet.input_channels, patch_zyx: patch, half };
            let (graph, weights) = match plan.compile(0, &mut MadeUp::of(&unet)) {
                Ok(compiled) => compiled,
                Err(Stop::NotCovered) => panic!("{what} is not covered"),
                Err(Stop::Failed(error)) => panic!("{what}: {error}"),
            };
            let got = Network::new(settings.isa, graph, weights).unwrap();
            let wanted = wanted.native().unwrap_or_else(|| panic!("{what}: {:?}", wanted.not_lowered()));
            check_equal(what, &[got], wanted.networks());
        }
    }
}
