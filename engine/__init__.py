"""The parts of the frame loop: timelines, the model runner, the scheduler, CPU workers and the host."""
