//! The manifest of a model: inside the ONNX file, beside it, and checked against the graph.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Map, Value, json};
use tract_onnx::pb::tensor_shape_proto::dimension::Value as Dim;
use tract_onnx::pb::{GraphProto, ModelProto, StringStringEntryProto, ValueInfoProto, type_proto};

use super::OnnxError;
use super::file::graph_sha256;
use crate::manifest::{FORMAT_VERSION, Labels, Manifest, Normalization, Resampling};

/// The entry of `metadata_props` that holds the manifest.
const KEY: &str = "scanside";
/// Longest side-car read; a manifest with thousands of labels stays far below.
const MAX_MANIFEST_BYTES: u64 = 16 << 20;

/// Writes `manifest` into the model's `metadata_props`, with the hash of the graph as it is now.
///
/// # Errors
/// A manifest that disagrees with the graph.
pub fn embed(proto: &mut ModelProto, manifest: &Manifest) -> Result<(), OnnxError> {
    manifest_check(manifest, super::file::graph_of(proto)?)?;
    let mut manifest = manifest.clone();
    manifest.graph_sha256 = Some(graph_sha256(proto));
    let value = serde_json::to_string(&manifest).map_err(|e| OnnxError::Manifest(e.to_string()))?;
    proto.metadata_props.retain(|e| e.key != KEY);
    proto.metadata_props.push(StringStringEntryProto { key: KEY.into(), value });
    Ok(())
}

/// The manifest inside the model, if there is one.
///
/// # Errors
/// A manifest that cannot be read, is newer than this program, or was written for another graph.
pub fn extract(proto: &ModelProto) -> Result<Option<Manifest>, OnnxError> {
    let mut entries = proto.metadata_props.iter().filter(|e| e.key == KEY);
    let Some(entry) = entries.next() else {
        return Ok(None);
    };
    if entries.next().is_some() {
        return Err(OnnxError::Manifest("the file holds two manifests".into()));
    }
    let value: Value = serde_json::from_str(&entry.value).map_err(|e| OnnxError::Manifest(e.to_string()))?;
    let manifest = typed(value)?;
    if manifest.graph_sha256.as_ref().is_some_and(|h| *h != graph_sha256(proto)) {
        return Err(OnnxError::Changed);
    }
    Ok(Some(manifest))
}

/// Reads a complete manifest from a `.json` or `.toml` file.
///
/// # Errors
/// A file that cannot be read, or facts that are missing or wrong.
pub fn read_manifest_file(path: &Path) -> Result<Manifest, OnnxError> {
    manifest_from_side_car(path, &GraphFacts::default())
}

/// What the graph's inputs and outputs say by themselves.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct GraphFacts {
    two_dimensional: Option<bool>,
    channels: Option<usize>,
    /// One entry per spatial axis; `None` where the size is not fixed.
    patch: Vec<Option<usize>>,
    /// Of each output: its second axis, where fixed.
    heads: Vec<Option<usize>>,
    inputs: usize,
}

impl GraphFacts {
    /// Those of compiled networks; a compiled 2d network is one whose patch has one plane, which the manifest may say.
    pub(super) fn compiled(channels: usize, patch: [usize; 3], heads: usize, folds: usize) -> GraphFacts {
        GraphFacts {
            two_dimensional: None,
            channels: Some(channels),
            patch: patch.iter().map(|&n| Some(n)).collect(),
            heads: vec![Some(heads); folds],
            inputs: 1,
        }
    }
}

pub(crate) fn facts_of(graph: &GraphProto) -> GraphFacts {
    // Old files list their weights among the inputs.
    let inputs: Vec<_> = graph.input.iter().filter(|i| !graph.initializer.iter().any(|t| t.name == i.name)).collect();
    let dims = inputs.first().and_then(|i| dims_of(i)).unwrap_or_default();
    let spatial = matches!(dims.len(), 4 | 5);
    GraphFacts {
        two_dimensional: spatial.then_some(dims.len() == 4),
        channels: if spatial { dims[1] } else { None },
        patch: if spatial { dims[2..].to_vec() } else { Vec::new() },
        heads: graph.output.iter().map(|o| dims_of(o).and_then(|d| d.get(1).copied().flatten())).collect(),
        inputs: inputs.len(),
    }
}

/// Dimensions of an input or output; `None` for those without a fixed positive size.
fn dims_of(info: &ValueInfoProto) -> Option<Vec<Option<usize>>> {
    let Some(type_proto::Value::TensorType(t)) = info.r#type.as_ref()?.value.as_ref() else {
        return None;
    };
    let dims = t.shape.as_ref()?.dim.iter().map(|d| match d.value {
        Some(Dim::DimValue(n)) => usize::try_from(n).ok().filter(|&n| n > 0),
        _ => None,
    });
    Some(dims.collect())
}

impl GraphFacts {
    fn patch_zyx(&self) -> Option<[usize; 3]> {
        match *self.patch {
            [Some(z), Some(y), Some(x)] => Some([z, y, x]),
            [Some(y), Some(x)] => Some([1, y, x]),
            _ => None,
        }
    }

    /// One sentence on what is known, for the error that asks for the rest.
    fn sentence(&self) -> String {
        let mut known = Vec::new();
        if let Some(p) = self.patch_zyx() {
            known.push(format!("the patch is {} x {} x {}", p[0], p[1], p[2]));
        }
        if let Some(c) = self.channels {
            known.push(format!("{c} input channel{}", if c == 1 { "" } else { "s" }));
        }
        if let Some(h) = self.heads.first().copied().flatten() {
            known.push(format!("{h} heads"));
        }
        if known.is_empty() { "nothing by itself".into() } else { known.join(", ") }
    }

    /// A manifest with the fewest facts that would do, for `most` heads at most.
    fn example(&self, most: usize) -> Value {
        let channels: Vec<Value> = (0..self.channels.unwrap_or(1))
            .map(|i| json!({"name": format!("channel {i}"), "normalization": {"kind": "z_score"}}))
            .collect();
        let heads: Vec<Value> = (0..self.heads.first().copied().flatten().unwrap_or(2).min(most))
            .map(|i| json!({"name": if i == 0 { "background".into() } else { format!("label {i}") }, "value": i}))
            .collect();
        let mut grid = json!({"spacing_mm": [1.0, 1.0, 1.0]});
        if self.patch_zyx().is_none() {
            grid["patch_zyx"] = json!([128, 128, 128]);
        }
        json!({"grid": grid, "channels": channels, "labels": {"kind": "exclusive", "heads": heads}})
    }
}

/// A manifest that fits the graph's shapes and says nothing true of its data: enough to run it and measure.
///
/// # Errors
/// The graph's shapes are not fixed.
pub fn neutral_manifest(proto: &ModelProto) -> Result<Manifest, OnnxError> {
    let graph = super::file::graph_of(proto)?;
    let facts = facts_of(graph);
    let mut example = facts.example(usize::from(u16::MAX));
    if let Value::Object(root) = &mut example {
        fill(root, &facts);
    }
    typed(example)
}

pub(crate) fn missing_everything(path: &Path, facts: &GraphFacts) -> OnnxError {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let patch = if facts.patch_zyx().is_none() { "the patch, " } else { "" };
    OnnxError::ManifestMissing(format!(
        "{} has no manifest: its graph tells {}; it does not tell {patch}the voxel spacing, the channels' names and \
         normalisation, and the labels. Write them to {stem}.scanside.json beside it, for example {}",
        path.display(),
        facts.sentence(),
        facts.example(3)
    ))
}

/// A manifest beside the model. What the graph tells may be left out.
pub(crate) fn manifest_from_side_car(path: &Path, facts: &GraphFacts) -> Result<Manifest, OnnxError> {
    let io = |source| OnnxError::Io { path: path.to_path_buf(), source };
    if std::fs::metadata(path).map_err(io)?.len() > MAX_MANIFEST_BYTES {
        return Err(OnnxError::Manifest(format!("{} is too large to be a manifest", path.display())));
    }
    let text = std::fs::read_to_string(path).map_err(io)?;
    let named = |e: String| OnnxError::Manifest(format!("{}: {}", path.display(), e.trim_end()));
    let mut value: Value = match path.extension().and_then(|e| e.to_str()) {
        Some("toml") => toml::from_str(&text).map_err(|e| named(e.to_string()))?,
        Some("json") => serde_json::from_str(&text).map_err(|e| named(e.to_string()))?,
        _ => return Err(named("the name must end in .json or .toml".into())),
    };
    let Some(root) = value.as_object_mut() else {
        return Err(named("it must be a table of facts".into()));
    };
    fill(root, facts);
    let missing = missing(root);
    if !missing.is_empty() {
        return Err(OnnxError::ManifestMissing(format!(
            "{} leaves open: {}. For example {}",
            path.display(),
            missing.join(", "),
            facts.example(3)
        )));
    }
    typed(value).map_err(|e| match e {
        OnnxError::Manifest(why) => named(why),
        other => other,
    })
}

fn fill(root: &mut Map<String, Value>, facts: &GraphFacts) {
    root.entry("format").or_insert(json!(FORMAT_VERSION));
    let grid = root.entry("grid").or_insert_with(|| json!({}));
    if let Some(grid) = grid.as_object_mut() {
        if let Some(patch) = facts.patch_zyx() {
            grid.entry("patch_zyx").or_insert(json!(patch));
        }
        if let Some(two) = facts.two_dimensional {
            grid.entry("two_dimensional").or_insert(json!(two));
        }
    }
}

/// Facts that are still open, in the user's words.
fn missing(root: &Map<String, Value>) -> Vec<String> {
    let mut open = Vec::new();
    let grid = root.get("grid");
    for (key, words) in
        [("patch_zyx", "the patch (grid.patch_zyx)"), ("spacing_mm", "the voxel spacing (grid.spacing_mm)")]
    {
        if grid.and_then(|g| g.get(key)).is_none() {
            open.push(words.to_owned());
        }
    }
    match root.get("channels").and_then(Value::as_array) {
        None => open.push("the channels and their normalisation (channels)".into()),
        Some(channels) => {
            for (i, c) in channels.iter().enumerate().filter(|(_, c)| c.get("normalization").is_none()) {
                let name = c.get("name").and_then(Value::as_str).unwrap_or("");
                open.push(format!("the normalisation of channel {i} \"{name}\" (channels[{i}].normalization)"));
            }
        }
    }
    if root.get("labels").and_then(|l| l.get("heads")).is_none() {
        open.push("the labels (labels.heads)".into());
    }
    open
}

fn typed(value: Value) -> Result<Manifest, OnnxError> {
    // Before anything else: a newer manifest may hold fields this program would call wrong.
    match value.get("format").and_then(Value::as_u64) {
        Some(v) if v > u64::from(FORMAT_VERSION) => Err(OnnxError::Manifest(format!(
            "it is written in format {v}, this program reads up to {FORMAT_VERSION}; a newer scanside is needed"
        ))),
        Some(0) | None => Err(OnnxError::Manifest("it does not name its format".into())),
        Some(_) => serde_json::from_value(value).map_err(|e| OnnxError::Manifest(e.to_string())),
    }
}

/// Checks the manifest's values, and that they agree with the graph's inputs and outputs.
///
/// # Errors
/// All disagreements in one sentence each.
pub fn manifest_check(m: &Manifest, graph: &GraphProto) -> Result<(), OnnxError> {
    check(m, &facts_of(graph))
}

/// The manifest of a compiled model.
pub(super) fn manifest_from_json(json: &str, facts: &GraphFacts) -> Result<Manifest, OnnxError> {
    let value = serde_json::from_str(json).map_err(|e| OnnxError::Manifest(e.to_string()))?;
    let manifest = typed(value)?;
    check(&manifest, facts)?;
    Ok(manifest)
}

fn check(m: &Manifest, facts: &GraphFacts) -> Result<(), OnnxError> {
    let mut wrong = String::new();
    let mut say = |text: String| {
        let _ = write!(wrong, "{}{text}", if wrong.is_empty() { "" } else { "; " });
    };
    let grid = &m.grid;
    let patch = grid.patch_zyx;
    let voxels = patch.iter().try_fold(1usize, |n, &p| n.checked_mul(p));
    if !voxels.is_some_and(|v| v > 0 && v <= 1 << 34) {
        say(format!("the patch {patch:?} is not possible"));
    }
    if grid.two_dimensional && patch[0] != 1 {
        say(format!("a 2d patch starts with 1, not {}", patch[0]));
    }
    if grid.spacing_mm.iter().flatten().any(|s| !(s.is_finite() && *s > 0.0)) {
        say(format!("the spacing {:?} must be positive", grid.spacing_mm));
    }
    if (0..3).any(|a| !grid.transpose_forward.contains(&a)) {
        say(format!("transpose_forward {:?} does not name each of 0, 1, 2 once", grid.transpose_forward));
    }
    let axes = &m.mirror_axes;
    let first = usize::from(grid.two_dimensional);
    if axes.iter().enumerate().any(|(i, a)| !(first..3).contains(a) || axes[..i].contains(a)) {
        say(format!("mirror_axes {axes:?} must be different axes from {first} to 2"));
    }
    for (i, c) in m.channels.iter().enumerate() {
        let bad = match c.normalization {
            Normalization::Ct { mean, std, lower, upper } => {
                (![mean, std, lower, upper].iter().all(|v| v.is_finite()) || std < 0.0 || lower > upper)
                    .then(|| format!("mean {mean}, std {std}, limits {lower} to {upper}"))
            }
            Normalization::PercentileTo01 { lower_percent: l, upper_percent: u } => {
                (!(0.0 <= l && l < u && u <= 100.0)).then(|| format!("percentiles {l} to {u}"))
            }
            _ => None,
        };
        if let Some(bad) = bad {
            say(format!("the normalisation of channel {i} \"{}\" is not possible ({bad})", c.name));
        }
    }
    for (what, r) in [("resample_data", m.resample_data), ("resample_logits", m.resample_logits)] {
        if let Resampling::Spline { order, order_z, .. } = r
            && (![0, 1, 3].contains(&order) || order_z > 1)
        {
            say(format!(
                "{what} has order {order} and {order_z}; orders are 0, 1 or 3, and 0 or 1 along a separate axis"
            ));
        }
    }
    let heads = m.labels.heads();
    if m.channels.is_empty() || heads.is_empty() || m.folds == 0 {
        say("there must be at least one channel, one label and one fold".into());
    }
    if let Labels::Exclusive { heads } = &m.labels {
        for (i, h) in heads.iter().enumerate() {
            if let Some(j) = heads[..i].iter().position(|g| g.value == h.value) {
                say(format!("labels \"{}\" and \"{}\" have the same value {}", heads[j].name, h.name, h.value));
            }
        }
    }
    if facts.inputs != 1 {
        say(format!("the graph has {} inputs, one is needed", facts.inputs));
    }
    if facts.two_dimensional.is_some_and(|two| two != grid.two_dimensional) {
        say(format!("the graph's input has {} spatial axes", facts.patch.len()));
    }
    if facts.channels.is_some_and(|c| c != m.channels.len()) {
        say(format!("the graph takes {} channels, not {}", facts.channels.unwrap_or(0), m.channels.len()));
    }
    let own = &patch[3 - facts.patch.len().min(3)..];
    if facts.patch.iter().zip(own).any(|(g, p)| g.is_some_and(|g| g != *p)) {
        say(format!("the graph's patch is {:?}, not {own:?}", facts.patch.iter().flatten().collect::<Vec<_>>()));
    }
    if m.folds > facts.heads.len() {
        say(format!("the graph has {} outputs, the manifest {} folds", facts.heads.len(), m.folds));
    }
    for (i, h) in facts.heads.iter().take(m.folds).enumerate().filter_map(|(i, h)| Some((i, (*h)?))) {
        if h != heads.len() {
            say(format!("output {i} of the graph has {h} heads, not {}", heads.len()));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(OnnxError::Manifest(wrong)) }
}
