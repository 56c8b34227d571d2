//! The compiled student that the bare program reads: two folds that between them use every kind of weights.

use scanside_core::manifest::{Channel, Label, Labels, Manifest, NetworkGrid, Normalization};
use scanside_core::network::{Activation, ConvGeometry, Quant};
use scanside_core::network::{Graph, GraphBuilder, ValueSpec, Weights, write_image};

/// Voxels per patch, as the bare program's scene has them.
const PATCH: [usize; 3] = [8, 10, 12];
const HEADS: usize = 3;

fn values(n: usize, size: f32, seed: u32) -> Vec<f32> {
    let mut state = seed;
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((state >> 8) as f32 / (1 << 23) as f32 - 1.0) * size
        })
        .collect()
}

fn fold(half: bool) -> Option<(Graph, Weights<'static>)> {
    let mut b = GraphBuilder::new(1, PATCH, half);
    let shape = |cin, cout, input: [usize; 3], kernel: usize, stride: usize| ConvGeometry {
        cin,
        cout,
        input,
        output: input.map(|n| n.div_ceil(stride)),
        kernel: [kernel; 3],
        stride: [stride; 3],
        dilation: [1; 3],
        pad: [kernel / 2; 3],
    };
    let layer = |b: &mut GraphBuilder, v: ValueSpec, cout: usize, stride: usize, int: bool| {
        let g = shape(v.channels(), cout, v.grid, 3, stride);
        let n = g.cin * g.taps();
        let (w, bias) = (values(cout * n, 0.3, (7 * cout + n) as u32), values(cout, 0.1, 3));
        let v = if int {
            let quant = Quant { scale: 0.025, zero: 30 };
            let v = b.on_grid("grid", v, quant, false);
            let bytes: Vec<i8> = w.iter().map(|w| (w * 400.0) as i8).collect();
            b.conv_int("int", v, &g, &bytes, &vec![0.0025; cout], &bias, quant).ok()?
        } else {
            b.conv("float", v, &g, &w, &bias, true)
        };
        let v = b.norm("norm", v, &values(cout, 1.0, 5), &values(cout, 0.3, 6), 1e-5);
        Some(b.activation("leaky", v, Activation::Leaky(0.01)))
    };
    let v = b.input();
    let skip = layer(&mut b, v, 5, 1, false)?;
    let deep = layer(&mut b, skip.clone(), 9, 2, half)?;
    let up = b.upsample(deep, 5, [2; 3], &values(9 * 5 * 8, 0.4, 8), &values(5, 0.1, 9));
    let both = b.concat(vec![up, skip]);
    let v = layer(&mut b, both, 5, 1, half)?;
    let head = shape(5, HEADS, PATCH, 1, 1);
    let v = b.conv("head", v, &head, &values(5 * HEADS, 0.8, 10), &[0.1, 0.0, -0.1], false);
    b.finish(v).ok()
}

/// What [`manifest`] is as JSON.
const MANIFEST_JSON: &str = r#"{"format":1,"grid":{"patch_zyx":[8,10,12],"spacing_mm":[1.3,0.9,1.0]},
"channels":[{"name":"","normalization":{"kind":"z_score","masked":true}}],"crop_to_nonzero":true,
"labels":{"kind":"exclusive","heads":[{"name":"","value":0},{"name":"","value":1},{"name":"","value":2}]},
"folds":2,"mirror_axes":[0,2]}"#;

/// The manifest of the bare program's scene.
fn manifest() -> Manifest {
    let grid = NetworkGrid::new(PATCH, [Some(1.3), Some(0.9), Some(1.0)]);
    let channels = vec![Channel::new("", Normalization::ZScore { masked: true })];
    let heads = (0..HEADS).map(|value| Label::new("", value as u16)).collect();
    let mut manifest = Manifest::new(grid, channels, Labels::Exclusive { heads });
    manifest.crop_to_nonzero = true;
    manifest.folds = 2;
    manifest.mirror_axes = vec![0, 2];
    manifest
}

/// The bytes of the file: one fold in half precision and integers, one in single precision.
pub fn write() -> Option<Vec<u8>> {
    let (first, second) = (fold(true)?, fold(false)?);
    let manifest = manifest();
    write_image(&manifest, MANIFEST_JSON, &[(&first.0, &first.1), (&second.0, &second.1)]).ok()
}
