//! The entries of the table as functions on the GPU, loaded when they are launched first.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use fp8lm_kernels::modules;

use crate::{
    cubins::Cubins,
    driver::{Context, Function, Module},
    error::Result,
};

/// Every entry that has device code.
#[derive(Debug)]
pub(crate) struct Functions {
    context: Arc<Context>,
    cubins: Cubins,
    /// The module of each entry.
    homes: HashMap<&'static str, fp8lm_kernels::Module>,
    loaded: Mutex<Loaded>,
}

#[derive(Debug, Default)]
struct Loaded {
    modules: HashMap<&'static str, Arc<Module>>,
    functions: HashMap<&'static str, Function>,
}

impl Functions {
    pub(crate) fn new(context: Arc<Context>, cubins: Cubins) -> Self {
        Self { context, cubins, homes: homes(), loaded: Mutex::default() }
    }

    /// The entry of that name; none if no module has it. The first of a module may compile it.
    pub(crate) fn get(&self, entry: &'static str) -> Result<Option<Function>> {
        let Some(home) = self.homes.get(entry) else { return Ok(None) };
        // The maps stay whole after a panic elsewhere: each operation on them is one call.
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(function) = loaded.functions.get(entry) {
            return Ok(Some(function.clone()));
        }
        let module = match loaded.modules.get(home.name) {
            Some(module) => module.clone(),
            None => Module::new(&self.context, &self.cubins.get(home)?)?,
        };
        let function = module.function(entry)?;
        loaded.modules.insert(home.name, module);
        loaded.functions.insert(entry, function.clone());
        Ok(Some(function))
    }
}

fn homes() -> HashMap<&'static str, fp8lm_kernels::Module> {
    let mut homes = HashMap::new();
    for module in modules() {
        for kernel in module.kernels {
            homes.extend(kernel.functions().map(|name| (name, module)));
        }
    }
    homes
}

#[cfg(test)]
mod tests {
    use fp8lm_kernels::table;

    use super::*;

    #[test]
    fn every_entry_of_the_table_has_a_module() {
        let homes = homes();
        for kernel in table() {
            for name in kernel.functions() {
                let home = homes.get(name).map(|module| module.source.text);
                assert!(home.is_some_and(|text| text.contains(name)), "{name}");
            }
        }
        assert!(homes.contains_key("scale"));
    }
}
