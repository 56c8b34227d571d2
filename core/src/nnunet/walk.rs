//! The walk over a network's layers: which layer reads what, in the order in which they run.
//!
//! Listing weights, writing ONNX, compiling and training do something different at each layer, and all follow this one
//! path. A [`LayerVisitor`] is called for each layer with the values that the layer reads, and returns the value that
//! it makes.
//!
//! ```text
//! input -> [stem] -> stage 0 -> stage 1 ... -> deepest stage         each stage: units, or residual blocks
//!                      |          |               |
//!                     skip       skip          upsample -> join with the skip -> units -> head, upsample -> ...
//! ```

use super::architecture::{Activation, Norm};
use super::layers::{Affine, Block, DecoderStage, EncoderStage, Expected, Layers, Unit};
use std::convert::Infallible;

/// One of the operations that a [`Unit`] consists of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Operation {
    /// The convolution.
    Convolution,
    /// The normalisation, or none.
    Norm(Norm),
    /// The activation, or none.
    Activation(Activation),
}

impl Unit {
    /// What the unit does, in order.
    pub fn operations(&self) -> [Operation; 3] {
        let (norm, activation) = (Operation::Norm(self.norm()), Operation::Activation(self.activation));
        if self.activation_first {
            [Operation::Convolution, activation, norm]
        } else {
            [Operation::Convolution, norm, activation]
        }
    }
}

/// What is done at each layer of a network. [`Layers::walk`] calls the methods in the order in which the layers run.
pub trait LayerVisitor {
    /// What flows from layer to layer: the name of a tensor, a tensor, a place in a plan.
    type Value: Clone;
    /// Why the walk ends early.
    type Error;

    /// Runs the [operations](Unit::operations) of a unit.
    ///
    /// # Errors
    /// The visitor's own; so for all methods.
    fn unit(&mut self, unit: &Unit, input: &Self::Value) -> Result<Self::Value, Self::Error>;

    /// Pools the skip of a residual block: the mean over windows of `stride`, which do not overlap.
    ///
    /// # Errors
    /// As [`Self::unit`].
    fn pool(&mut self, block: &Block, stride: &[usize], input: &Self::Value) -> Result<Self::Value, Self::Error>;

    /// Ends a residual block: adds the skip, then applies the block's activation.
    ///
    /// # Errors
    /// As [`Self::unit`].
    fn add(&mut self, block: &Block, main: Self::Value, skip: Self::Value) -> Result<Self::Value, Self::Error>;

    /// Sees the output of an encoder stage; stage 0 has the full resolution.
    fn encoded(&mut self, _stage: usize, _output: &Self::Value) {}

    /// Runs the transposed convolution of a decoder stage.
    ///
    /// # Errors
    /// As [`Self::unit`].
    fn upsample(&mut self, stage: &DecoderStage, input: &Self::Value) -> Result<Self::Value, Self::Error>;

    /// Joins the channels of `[upsampled, skip]`.
    ///
    /// # Errors
    /// As [`Self::unit`].
    fn join(
        &mut self,
        stage: &DecoderStage,
        upsampled: Self::Value,
        skip: &Self::Value,
    ) -> Result<Self::Value, Self::Error>;

    /// Sees the output of a decoder stage, and runs its head where it is wanted. The stage's level counts from 0, the
    /// full resolution, whose logits are the network's output; the other heads serve deep supervision.
    ///
    /// # Errors
    /// As [`Self::unit`].
    fn head(&mut self, stage: &DecoderStage, output: &Self::Value) -> Result<(), Self::Error>;
}

impl Layers {
    /// Leads `visitor` through the network, from its input to its heads.
    ///
    /// # Errors
    /// The visitor's first.
    pub fn walk<V: LayerVisitor>(&self, visitor: &mut V, input: V::Value) -> Result<(), V::Error> {
        let mut value = input;
        if let Some(stem) = &self.stem {
            value = visitor.unit(stem, &value)?;
        }
        let mut skips = Vec::with_capacity(self.encoder.len());
        for (s, stage) in self.encoder.iter().enumerate() {
            value = match stage {
                EncoderStage::Plain(units) => walk_units(units, visitor, value)?,
                EncoderStage::Residual(blocks) => {
                    blocks.iter().try_fold(value, |value, block| walk_block(block, visitor, value))?
                }
            };
            visitor.encoded(s, &value);
            skips.push(value.clone());
        }
        // The deepest stage is where the decoder starts, not a skip.
        skips.pop();
        for (stage, skip) in self.decoder.iter().zip(skips.iter().rev()) {
            let upsampled = visitor.upsample(stage, &value)?;
            let joined = visitor.join(stage, upsampled, skip)?;
            value = walk_units(&stage.convs, visitor, joined)?;
            visitor.head(stage, &value)?;
        }
        Ok(())
    }

    /// Every tensor of the network, in the order of the walk.
    pub fn expected(&self) -> Vec<Expected> {
        let mut list = TensorList(Vec::new());
        let Ok(()) = self.walk(&mut list, ());
        list.0
    }
}

fn walk_units<V: LayerVisitor>(units: &[Unit], visitor: &mut V, input: V::Value) -> Result<V::Value, V::Error> {
    units.iter().try_fold(input, |value, unit| visitor.unit(unit, &value))
}

fn walk_block<V: LayerVisitor>(block: &Block, visitor: &mut V, input: V::Value) -> Result<V::Value, V::Error> {
    let main = walk_units(&block.main, visitor, input.clone())?;
    let mut skip = input;
    if let Some(stride) = &block.pool {
        skip = visitor.pool(block, stride, &skip)?;
    }
    if let Some(projection) = &block.projection {
        skip = visitor.unit(projection, &skip)?;
    }
    visitor.add(block, main, skip)
}

/// Collects the tensors.
struct TensorList(Vec<Expected>);

impl TensorList {
    fn affine(&mut self, affine: &Affine) -> Result<(), Infallible> {
        self.0.extend(affine.tensors());
        Ok(())
    }
}

impl LayerVisitor for TensorList {
    type Value = ();
    type Error = Infallible;

    fn unit(&mut self, unit: &Unit, (): &()) -> Result<(), Infallible> {
        self.0.extend(unit.tensors());
        Ok(())
    }

    fn pool(&mut self, _: &Block, _: &[usize], (): &()) -> Result<(), Infallible> {
        Ok(())
    }

    fn add(&mut self, _: &Block, (): (), (): ()) -> Result<(), Infallible> {
        Ok(())
    }

    fn upsample(&mut self, stage: &DecoderStage, (): &()) -> Result<(), Infallible> {
        self.affine(&stage.upsample)
    }

    fn join(&mut self, _: &DecoderStage, (): (), (): &()) -> Result<(), Infallible> {
        Ok(())
    }

    fn head(&mut self, stage: &DecoderStage, (): &()) -> Result<(), Infallible> {
        self.affine(&stage.head)
    }
}
