//! A graph to its strongly connected components, each after those that it leads to.

/// The components of a graph given by successors. Iterative, for graphs of any depth.
pub(super) fn components(successors: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let n = successors.len();
    let mut search = Search {
        order: vec![None; n],
        low: vec![0; n],
        on_stack: vec![false; n],
        stack: vec![],
        found: vec![],
        time: 0,
    };
    for start in 0..n {
        if search.order[start].is_none() {
            search.from(start, successors);
        }
    }
    search.found
}

/// Tarjan's search.
struct Search {
    order: Vec<Option<usize>>,
    low: Vec<usize>,
    on_stack: Vec<bool>,
    stack: Vec<usize>,
    found: Vec<Vec<usize>>,
    time: usize,
}

impl Search {
    fn from(&mut self, start: usize, successors: &[Vec<usize>]) {
        let mut path = vec![(start, 0)];
        while let Some((node, next)) = path.last_mut() {
            let node = *node;
            if *next == 0 {
                self.order[node] = Some(self.time);
                self.low[node] = self.time;
                self.time += 1;
                self.stack.push(node);
                self.on_stack[node] = true;
            }
            let below = successors[node].get(*next).copied();
            *next += 1;
            match below.map(|it| (it, self.order[it])) {
                Some((below, None)) => path.push((below, 0)),
                Some((below, Some(order))) => {
                    if self.on_stack[below] {
                        self.low[node] = self.low[node].min(order);
                    }
                }
                None => {
                    path.pop();
                    if let Some((above, _)) = path.last() {
                        self.low[*above] = self.low[*above].min(self.low[node]);
                    }
                    self.close(node);
                }
            }
        }
    }

    fn close(&mut self, node: usize) {
        if self.order[node] != Some(self.low[node]) {
            return;
        }
        let at = self.stack.iter().rposition(|it| *it == node).unwrap_or(0);
        let mut component = self.stack.split_off(at);
        component.iter().for_each(|it| self.on_stack[*it] = false);
        component.sort_unstable();
        self.found.push(component);
    }
}

#[cfg(test)]
mod tests {
    use super::components;

    #[test]
    fn components_come_after_what_they_lead_to() {
        let graph = [vec![1], vec![2, 3], vec![1], vec![], vec![4], vec![0, 4]];
        assert_eq!(components(&graph), [vec![3], vec![1, 2], vec![0], vec![4], vec![5]]);
    }
}
