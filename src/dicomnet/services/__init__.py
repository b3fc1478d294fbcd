"""SOP classes, statuses and service classes as tables, and the SCU and SCP procedures (PS3.4). No I/O."""
