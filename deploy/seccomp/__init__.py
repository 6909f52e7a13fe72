"""The seccomp profile of executor pods, as a documented table, and the program that writes it for the chart."""
