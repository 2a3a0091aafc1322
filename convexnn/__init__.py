"""Two-layer ReLU networks trained to their global optimum by convex optimisation."""
