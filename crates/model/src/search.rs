//! A search of one's own, breadth first: the shortest way to a broken invariant, and liveness.
//!
//! `stateright`'s own liveness properties overlook cycles. What is asked here is: can a state of a
//! certain kind be reached from *every* state, over steps of a certain kind? Then any run that is fair
//! to these steps reaches it.

use std::collections::{HashMap, VecDeque};

use ahash::RandomState;

use crate::action::Action;
use crate::invariant::Invariant;
use crate::scope::Scope;
use crate::world::World;

/// All states of a scope, or as many as were seen before an invariant broke.
pub struct Graph {
    nodes: Vec<Node>,
    answers: Vec<Answer>,
    /// The longest of the shortest ways to a state.
    pub depth: u32,
    /// The first broken invariant.
    pub broken: Option<(Invariant, Trace)>,
}

/// How a state was reached first.
#[derive(Clone, Copy)]
struct Node {
    from: u32,
    by: Option<Action>,
    depth: u32,
}

/// What is known of a question.
#[derive(Default)]
struct Answer {
    goals: Vec<bool>,
    starts: Vec<bool>,
    /// Steps of the kind asked for: where they lead, and from where.
    back: Vec<(u32, u32)>,
}

/// A way from the first state.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace(pub Vec<Action>);

impl std::fmt::Display for Trace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().enumerate().try_for_each(|(n, action)| writeln!(f, "{:>3} {action:?}", n + 1))
    }
}

/// What has to be reached, from where, and over which steps.
#[derive(Clone, Copy)]
pub struct Question {
    /// What is asked.
    pub name: &'static str,
    /// States that are asked about.
    pub from: fn(&World) -> bool,
    /// Steps that count.
    pub over: fn(Action) -> bool,
    /// States that are to be reached.
    pub goal: fn(&World) -> bool,
}

impl Graph {
    /// Explores the scope until one of the invariants breaks, or to the end.
    pub fn explore(scope: Scope, watched: &[Invariant], questions: &[Question]) -> Self {
        let answers = questions.iter().map(|_| Answer::default()).collect();
        let mut graph = Self { nodes: Vec::new(), answers, depth: 0, broken: None };
        let mut known = HashMap::new();
        let mut waiting = VecDeque::new();
        let world = World::new(scope);
        known.insert(fingerprint(&world), 0);
        graph.add(&world, Node { from: 0, by: None, depth: 0 }, questions);
        waiting.push_back((0, world));
        let mut actions = Vec::new();
        while let Some((at, world)) = waiting.pop_front() {
            world.actions(&mut actions);
            for action in actions.drain(..) {
                let mut next = world.clone();
                next.act(action);
                let new = graph.nodes.len() as u32;
                let to = *known.entry(fingerprint(&next)).or_insert(new);
                for (answer, question) in graph.answers.iter_mut().zip(questions) {
                    if (question.over)(action) {
                        answer.back.push((to, at));
                    }
                }
                if to < new {
                    continue;
                }
                let depth = graph.nodes[at as usize].depth + 1;
                graph.add(&next, Node { from: at, by: Some(action), depth }, questions);
                if let Some(broken) = watched.iter().find(|of| !next.holds(**of)) {
                    graph.broken = Some((*broken, graph.trace(to)));
                    return graph;
                }
                waiting.push_back((to, next));
            }
        }
        graph
    }

    fn add(&mut self, world: &World, node: Node, questions: &[Question]) {
        self.depth = self.depth.max(node.depth);
        self.nodes.push(node);
        for (answer, question) in self.answers.iter_mut().zip(questions) {
            answer.goals.push((question.goal)(world));
            answer.starts.push((question.from)(world));
        }
    }

    /// Number of states.
    pub fn states(&self) -> usize {
        self.nodes.len()
    }

    /// The shortest way to a state from which the goal of a question cannot be reached any more.
    pub fn dead_end(&mut self, question: usize) -> Option<Trace> {
        let Answer { goals, starts, back } = &mut self.answers[question];
        back.sort_unstable();
        let mut reaches = goals.clone();
        let mut waiting: Vec<u32> =
            (0..self.nodes.len() as u32).filter(|at| reaches[*at as usize]).collect();
        while let Some(at) = waiting.pop() {
            let first = back.partition_point(|(to, _)| *to < at);
            for (_, from) in back[first..].iter().take_while(|(to, _)| *to == at) {
                if !std::mem::replace(&mut reaches[*from as usize], true) {
                    waiting.push(*from);
                }
            }
        }
        let stuck = starts.iter().zip(&reaches).position(|(start, reaches)| *start && !reaches);
        stuck.map(|at| self.trace(at as u32))
    }

    fn trace(&self, mut at: u32) -> Trace {
        let mut actions = Vec::new();
        while let Some(action) = self.nodes[at as usize].by {
            actions.push(action);
            at = self.nodes[at as usize].from;
        }
        actions.reverse();
        Trace(actions)
    }
}

/// The same for the same state in every run, so that traces are.
fn fingerprint(world: &World) -> u64 {
    RandomState::with_seeds(1, 2, 3, 4).hash_one(world)
}
