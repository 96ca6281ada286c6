//! The world as a model that `stateright` explores.

use stateright::{Model, Property};

use crate::action::Action;
use crate::laws;
use crate::scope::Scope;
use crate::world::World;

/// A migration within a scope.
#[derive(Clone, Copy, Debug)]
pub struct Migration(pub Scope);

impl Model for Migration {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(self.0)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        world.actions(actions);
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        next.act(action);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        laws::properties()
    }
}
