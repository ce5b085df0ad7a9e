"""Mean IoU and its kin, from confusion matrices: pure functions in `counts`, their TFMA metric in `metric`."""
