//! The master weights or one of the moments, however they are scaled.

use fp8lm_device::{DType, Result};
use fp8lm_formats::{E4M3, E5M2, philox::StochasticStream};
use half::f16;

#[cfg(target_arch = "x86_64")]
use crate::lanes::{Known, KnownMut};
use crate::{
    args::Args,
    groups::{EXPAND, Expansion, GROUP, GroupsMut},
    scale::Rule,
    states::StatesMut,
    workers::Rows,
};

/// A state whole.
pub(super) struct State<'a> {
    pub(super) part: Part<'a>,
    /// The scale of the tensor, unless its groups have their own.
    scale: Option<&'a mut f32>,
    rule: Rule,
    fp_max: f32,
}

impl<'a> State<'a> {
    /// The state whose values are argument `index`, its scale the one after it.
    pub(super) fn take(
        args: &mut Args<'a>,
        index: usize,
        rule_index: usize,
        n: usize,
    ) -> Result<Self> {
        if args.extent(rule_index) == EXPAND {
            return Self::take_groups(args, index, rule_index, n);
        }
        let rule = Rule::of(args, rule_index)?;
        let fp_max = match args.dtype(index) {
            DType::F16 => f16::MAX.to_f32_const(),
            DType::E4M3 => E4M3::MAX_F32,
            DType::E5M2 => E5M2::MAX_F32,
            _ if rule == Rule::None => 1.0,
            other => {
                return Err(args.invalid(rule_index, format!("0 for {other}"), "a scale".into()));
            }
        };
        let (values, scale) = (args.states_mut(index, n)?, args.write(index + 1, 1)?);
        let part = Part { values, scale: scale[0], groups: None, noise: None, first_word: 0 };
        Ok(Self { part, scale: scale.first_mut(), rule, fp_max })
    }

    fn take_groups(args: &mut Args<'a>, index: usize, rule_index: usize, n: usize) -> Result<Self> {
        let dtype = args.dtype(index);
        let Some(expansion) = Expansion::of(dtype) else {
            let expected = format!("a rule other than {EXPAND} for {dtype}");
            return Err(args.invalid(rule_index, expected, EXPAND.to_string()));
        };
        let scale = args.write(index + 1, 2 * n.div_ceil(GROUP))?;
        let groups = Some(GroupsMut::new(expansion, scale));
        let values = args.states_mut(index, n)?;
        let part = Part { values, scale: 1.0, groups, noise: None, first_word: 0 };
        Ok(Self { part, scale: None, rule: Rule::None, fp_max: 1.0 })
    }

    /// Whether its scale follows from the largest magnitude of the tensor.
    pub(super) fn needs_amax(&self) -> bool {
        self.rule != Rule::None
    }

    /// What values are multiplied by when read.
    pub(super) fn inverse(&self) -> f32 {
        if self.rule == Rule::None { 1.0 } else { 1.0 / self.part.scale }
    }

    /// Has the random words of a stream round it, from that of element `first` on.
    pub(super) fn set_noise(&mut self, noise: StochasticStream, first: u64) {
        self.part.noise = Some(noise);
        self.part.first_word = first;
    }

    /// Chooses the scale that values are stored under.
    pub(super) fn rescale(&mut self, amax: f32) {
        if let Some(scale) = &mut self.scale {
            **scale = self.rule.scale(amax, self.fp_max);
            self.part.scale = **scale;
        }
    }
}

/// The elements of a state or of some of its rows.
pub(super) struct Part<'a> {
    values: StatesMut<'a>,
    /// What is multiplied in before values are stored.
    pub(super) scale: f32,
    groups: Option<GroupsMut<'a>>,
    /// The random words of the tensor, if they round.
    noise: Option<StochasticStream>,
    /// The number of the first element's word.
    first_word: u64,
}

impl Part<'_> {
    /// The values, unless they are in groups or in a format that `lanes` does not know.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn known(&self) -> Option<Known<'_>> {
        Known::of(self.values.as_states().slice).filter(|_| self.groups.is_none())
    }

    /// The same, to be written, unless at random.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn known_mut(&mut self) -> Option<KnownMut<'_>> {
        let plain = self.groups.is_none() && self.noise.is_none();
        KnownMut::of(&mut self.values.slice).filter(|_| plain)
    }

    /// Reads the `out.len()` elements from `first` on, still under the scale of the tensor.
    #[inline(always)]
    pub(super) fn load(&self, first: usize, out: &mut [f32]) {
        self.values.as_states().load(first, out);
        if let Some(groups) = &self.groups {
            groups.decode(first, out);
        }
    }

    /// Writes `values` from `first` on, and leaves in them what was rounded.
    #[inline(always)]
    pub(super) fn store(&mut self, first: usize, values: &mut [f32]) {
        match &mut self.groups {
            Some(groups) => groups.encode(first, values),
            None => values.iter_mut().for_each(|value| *value *= self.scale),
        }
        let Some(noise) = &self.noise else { return self.values.store(first, values) };
        for (block, values) in (0..).zip(values.chunks(WORDS)) {
            let (first, mut words) = (first + block * WORDS, [0; WORDS]);
            let words = &mut words[..values.len()];
            noise.fill(self.first_word.wrapping_add(first as u64), words);
            self.values.store_stochastic(first, values, words);
        }
    }
}

/// By elements.
impl Rows for Part<'_> {
    fn split(self, rows: usize) -> (Self, Self) {
        let (left, right) = self.values.split_at(rows);
        let (left_groups, right_groups) = self.groups.map(|groups| groups.split(rows)).unzip();
        let (scale, noise, first) = (self.scale, self.noise, self.first_word);
        let part = |values, groups, first_word| Self { values, scale, groups, noise, first_word };
        let middle = first.wrapping_add(rows as u64);
        (part(left, left_groups, first), part(right, right_groups, middle))
    }
}

/// Random words made at a time.
const WORDS: usize = 128;
