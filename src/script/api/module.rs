//! `require "name"`: a module of `hooks.modules`, run once a state and shared by its stages.

use super::super::load::is_module_name;
use super::super::raw::Stack;
use super::super::sandbox;
use super::super::value::Raise;
use super::super::world::World;

/// `require(name)` → what the module returned.
pub(super) fn require(stack: &mut Stack, world: &World) -> Result<i32, Raise> {
    let Some(name) = stack.text(1).map(ToOwned::to_owned) else {
        let kind = stack.kind(1).described();
        return Err(Raise(format!(
            "require: the name is {kind}; must be a string"
        )));
    };
    if let ("test", Some(test)) = (name.as_str(), world.test.get()) {
        stack.push_ref(test);
        return Ok(1);
    }
    if !world.is_loading() {
        return Err(Raise(format!(
            "require {name:?}: only while loading, at the top of a script"
        )));
    }
    if !is_module_name(&name) {
        return Err(Raise(format!(
            "require {name:?}: the name of a module has only a-z, 0-9, _, -, . and /"
        )));
    }
    let known = world.modules.borrow().get(&name).copied();
    match known {
        Some(Some(kept)) => {
            stack.push_ref(kept);
            return Ok(1);
        }
        Some(None) => {
            return Err(Raise(format!(
                "require {name:?}: it is being loaded already"
            )));
        }
        None => {}
    }
    let Some(chunk) = world.bundle.module(&name) else {
        let file = world.bundle.hooks().modules.join(format!("{name}.lua"));
        return Err(Raise(format!(
            "require {name:?}: no such module; looked for {}",
            file.display()
        )));
    };
    world.modules.borrow_mut().insert(name.clone(), None);
    stack.set_top(0);
    sandbox::push_environment(stack, world.kept()?);
    if !stack.push_chunk(chunk.title(), &chunk.code, 1) {
        return Err(Raise(format!("require {name:?}: not enough memory")));
    }
    // An error leaves the mark; the state is not used after one.
    stack.call(0, 1);
    let result = stack.top();
    stack.push_copy(result);
    let kept = stack.keep();
    world.modules.borrow_mut().insert(name, Some(kept));
    Ok(1)
}
