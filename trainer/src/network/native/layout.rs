//! A network laid out for a patch: the walk over its layers that makes the plans of [`NativeNet`].

use super::plan::{Join, StagePlan, Target, UnitPlan};
use super::{NativeNet, Unsupported, three};
use scanside_core::nnunet::layers::{Block, DecoderStage, Unit};
use scanside_core::nnunet::walk::LayerVisitor;

/// Where a value comes from, and its grid.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// The unit that wrote it; none for the image.
    unit: Option<usize>,
    grid: [usize; 3],
}

impl Place {
    /// The image.
    pub(super) fn image(grid: [usize; 3]) -> Place {
        Place { unit: None, grid }
    }

    fn unit(self) -> Result<usize, Unsupported> {
        self.unit.ok_or_else(|| unsupported("a decoder stage that reads the image"))
    }
}

fn unsupported(what: &str) -> Unsupported {
    Unsupported(format!("{what} is not among the native layers"))
}

/// Fills a network with plans.
pub(super) struct Layout<'a> {
    pub(super) net: &'a mut NativeNet,
    /// Tensors numbered so far, in the order of the walk.
    pub(super) tensors: usize,
}

impl Layout<'_> {
    fn target(&self) -> Target {
        Target { isa: self.net.isa, workers: self.net.workers }
    }
}

impl LayerVisitor for Layout<'_> {
    type Value = Place;
    type Error = Unsupported;

    fn unit(&mut self, unit: &Unit, input: &Place) -> Result<Place, Unsupported> {
        if unit.activation_first {
            return Err(unsupported("an activation before the norm"));
        }
        let reads_image = self.net.units.is_empty();
        let plan = UnitPlan::new(self.target(), unit, input.grid, reads_image, &mut self.tensors)?;
        let grid = plan.g.output;
        self.net.units.push(plan);
        Ok(Place { unit: Some(self.net.units.len() - 1), grid })
    }

    fn pool(&mut self, _: &Block, _: &[usize], _: &Place) -> Result<Place, Unsupported> {
        Err(unsupported("a residual block"))
    }

    fn add(&mut self, _: &Block, _: Place, _: Place) -> Result<Place, Unsupported> {
        Err(unsupported("a residual block"))
    }

    fn encoded(&mut self, _: usize, output: &Place) {
        let first = self.net.encoder.last().map_or(0, |units| units.end);
        self.net.encoder.push(first..self.net.units.len());
        self.net.grids.push(output.grid);
    }

    /// The plan is made where the skip is known, in [`Self::join`].
    fn upsample(&mut self, _: &DecoderStage, input: &Place) -> Result<Place, Unsupported> {
        Ok(*input)
    }

    fn join(&mut self, stage: &DecoderStage, upsampled: Place, skip: &Place) -> Result<Place, Unsupported> {
        let stride = three(&stage.upsample_stride);
        let (from, to) = (upsampled.grid, skip.grid);
        if (0..3).any(|a| from[a] * stride[a] != to[a]) {
            return Err(Unsupported(format!(
                "strides of {stride:?} do not divide a grid of {to:?} voxels: choose a patch that they divide"
            )));
        }
        let (low, skip) = (upsampled.unit()?, skip.unit()?);
        let [below, here] = [low, skip].map(|unit| self.net.units[unit].g.cout);
        let join = Join { low, skip, below, here, from, to };
        let mut plan = StagePlan::new(self.target(), stage, &join, self.net.heads, &mut self.tensors);
        plan.units = self.net.units.len()..self.net.units.len();
        self.net.decoder.push(plan);
        Ok(Place { unit: Some(skip), grid: to })
    }

    fn head(&mut self, _: &DecoderStage, _: &Place) -> Result<(), Unsupported> {
        let units = self.net.units.len();
        if let Some(plan) = self.net.decoder.last_mut() {
            plan.units.end = units;
            plan.number_head(&mut self.tensors);
        }
        Ok(())
    }
}
