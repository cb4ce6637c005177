//! How tensors of each ggml type lie in a file (`type_traits` in ggml.c).

/// Elements are stored in blocks of equal size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Blocks {
    /// Elements of a block.
    pub(super) elements: u64,
    /// Bytes of a block.
    pub(super) bytes: u64,
}

/// The layout of type `id`; `None` for numbers that are unknown or were withdrawn, for which ggml
/// has a block of 0.
pub(super) fn blocks(id: u32) -> Option<Blocks> {
    let (elements, bytes) = match id {
        // F32, F16, BF16, F64, I8, I16, I32, I64
        0 | 26 => (1, 4),
        1 | 25 | 30 => (1, 2),
        24 => (1, 1),
        27 | 28 => (1, 8),
        // Q4_0, IQ4_NL; Q4_1; Q5_0; Q5_1; Q8_0; Q8_1
        2 | 20 => (32, 18),
        3 => (32, 20),
        6 => (32, 22),
        7 => (32, 24),
        8 => (32, 34),
        9 => (32, 36),
        // Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, Q8_K
        10 => (256, 84),
        11 | 21 => (256, 110),
        12 => (256, 144),
        13 => (256, 176),
        14 => (256, 210),
        15 => (256, 292),
        // IQ2_XXS and TQ2_0, IQ2_XS, IQ3_XXS, IQ1_S, IQ3_S (with Q3_K), IQ2_S, IQ4_XS, IQ1_M
        16 | 35 => (256, 66),
        17 => (256, 74),
        18 => (256, 98),
        19 => (256, 50),
        22 => (256, 82),
        23 => (256, 136),
        29 => (256, 56),
        // TQ1_0, MXFP4, NVFP4, Q1_0, Q2_0
        34 => (256, 54),
        39 => (32, 17),
        40 => (64, 36),
        41 => (128, 18),
        42 => (64, 18),
        _ => return None,
    };
    Some(Blocks { elements, bytes })
}
