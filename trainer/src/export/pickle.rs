//! The pickle inside a PyTorch checkpoint, as far as nnU-Net reads it.
//!
//! Protocol 2, written straight through: the values are few and none refers to another, so nothing is memoised. A
//! tensor is a call of `torch._utils._rebuild_tensor_v2` on a storage, which is named by a persistent id and lies in
//! the archive beside the pickle.

use super::ModelFacts;

/// A tensor of the checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorEntry<'a> {
    /// Its name.
    pub name: &'a str,
    /// Key of its storage; tensors with the same key share their values.
    pub storage: usize,
    /// Values per axis.
    pub shape: &'a [usize],
}

/// The pickle of a checkpoint with the four entries that nnU-Net's prediction reads.
pub fn checkpoint(tensors: &[TensorEntry<'_>], facts: &ModelFacts) -> Vec<u8> {
    let mut p = Pickle(vec![0x80, 2]);
    p.empty_dict();
    p.mark();

    p.text("network_weights");
    p.ordered_dict();
    p.mark();
    for tensor in tensors {
        p.text(tensor.name);
        p.tensor(tensor);
    }
    p.set_items();

    p.text("trainer_name");
    p.text(&facts.trainer_name);

    p.text("init_args");
    p.empty_dict();
    p.mark();
    p.text("configuration");
    p.text(&facts.configuration);
    p.set_items();

    p.text("inference_allowed_mirroring_axes");
    if facts.mirror_axes.is_empty() {
        // nnU-Net takes the largest of them, and there is none.
        p.none();
    } else {
        p.tuple(&facts.mirror_axes);
    }

    p.set_items();
    p.stop()
}

struct Pickle(Vec<u8>);

impl Pickle {
    fn mark(&mut self) {
        self.0.push(b'(');
    }

    fn none(&mut self) {
        self.0.push(b'N');
    }

    fn empty_dict(&mut self) {
        self.0.push(b'}');
    }

    /// Every key and value since the mark goes into the dictionary before it.
    fn set_items(&mut self) {
        self.0.push(b'u');
    }

    fn global(&mut self, module: &str, name: &str) {
        self.0.extend(format!("c{module}\n{name}\n").bytes());
    }

    fn ordered_dict(&mut self) {
        self.global("collections", "OrderedDict");
        // Called without arguments.
        self.0.extend(b")R");
    }

    fn text(&mut self, text: &str) {
        self.0.push(b'X');
        self.0.extend((text.len() as u32).to_le_bytes());
        self.0.extend(text.bytes());
    }

    fn int(&mut self, number: usize) {
        match number {
            0..=0xff => self.0.extend([b'K', number as u8]),
            0x100..=0xffff => {
                self.0.push(b'M');
                self.0.extend((number as u16).to_le_bytes());
            }
            0x1_0000..=0x7fff_ffff => {
                self.0.push(b'J');
                self.0.extend((number as u32).to_le_bytes());
            }
            _ => {
                // Nine bytes, so that the sign is never in the way.
                self.0.extend([0x8a, 9]);
                self.0.extend((number as u64).to_le_bytes());
                self.0.push(0);
            }
        }
    }

    fn tuple(&mut self, numbers: &[usize]) {
        self.mark();
        numbers.iter().for_each(|number| self.int(*number));
        self.0.push(b't');
    }

    fn tensor(&mut self, tensor: &TensorEntry<'_>) {
        self.global("torch._utils", "_rebuild_tensor_v2");
        self.mark();

        self.mark();
        self.text("storage");
        self.global("torch", "FloatStorage");
        self.text(&tensor.storage.to_string());
        self.text("cpu");
        self.int(tensor.shape.iter().product());
        // A tuple that is a persistent id.
        self.0.extend(b"tQ");

        self.int(0);
        self.tuple(tensor.shape);
        self.tuple(&row_major(tensor.shape));
        // No gradient, no hooks.
        self.0.push(0x89);
        self.ordered_dict();
        self.0.extend(b"tR");
    }

    fn stop(mut self) -> Vec<u8> {
        self.0.push(b'.');
        self.0
    }
}

fn row_major(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_take_the_opcodes_that_python_has_for_them() {
        let bytes = |number| {
            let mut p = Pickle(Vec::new());
            p.int(number);
            p.0
        };
        assert_eq!(bytes(255), [b'K', 255]);
        assert_eq!(bytes(256), [b'M', 0, 1]);
        assert_eq!(bytes(65_536), [b'J', 0, 0, 1, 0]);
        assert_eq!(bytes(1 << 31), [0x8a, 9, 0, 0, 0, 0x80, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn strides_are_row_major() {
        assert_eq!(row_major(&[2, 3, 4]), [12, 4, 1]);
        assert_eq!(row_major(&[]), [0usize; 0]);
    }
}
