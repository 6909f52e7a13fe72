#!/bin/sh
# The first process of the kernel that usermode.py boots: repository, Python, module.
# Makes what a container runtime with writable cgroups makes, runs the module in it, and switches the kernel off.
export PATH=/usr/bin:/bin:/usr/sbin:/sbin PYTHONDONTWRITEBYTECODE=1 LANG=C.UTF-8
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mkdir -p /dev/shm
for directory in /run /tmp /dev/shm; do mount -t tmpfs tmpfs "$directory"; done
mount -t cgroup2 -o nsdelegate cgroup2 /sys/fs/cgroup
own=/sys/fs/cgroup/pod/container
echo "+cpu +memory +pids" >/sys/fs/cgroup/cgroup.subtree_control
mkdir -p "$own"
echo "+cpu +memory +pids" >/sys/fs/cgroup/pod/cgroup.subtree_control
chown 1000:1000 "$own" "$own/cgroup.procs" "$own/cgroup.threads" "$own/cgroup.subtree_control"
mkdir -m 0777 /run/executor
sh -c 'echo $$ >"$0/cgroup.procs"; exec unshare --cgroup --mount sh -c "$1"' "$own" \
  "umount /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup && cd '$1' && exec '$2' -m '$3'" 2>&1
echo o >/proc/sysrq-trigger
sleep 60
