# AppArmor profile of executor pods. The runtime's default denies mounts, without which there is no sandbox, and
# Ubuntu gives no capabilities to the user namespaces of unconfined processes. docs/security.md says more.
profile sandbox-executor flags=(attach_disconnected, mediate_deleted) {
  # What bubblewrap does, in namespaces of its own. Parsers before 4.0 do not know "userns", and need it not.
  userns,
  mount,
  umount,
  pivot_root,
  # Those that bubblewrap has in its own user namespace; the container's set is empty.
  capability,

  network unix,
  network inet,
  network inet6,
  network netlink raw,
  unix,
  file,

  # From the runtime and the node; among its own.
  signal (receive) peer=unconfined,
  signal (receive) peer={runc,crun},
  signal (send, receive) peer=@{profile_name},
  # The executor measures its sandboxes. Nobody traces anybody.
  ptrace (read, readby) peer=@{profile_name},

  # A second line behind the container's read-only and masked paths. Of /proc/sys only
  # user/max_user_namespaces is written, by bubblewrap, to lock nested namespaces.
  deny /proc/sys/{abi,debug,dev,fs,kernel,net,sunrpc,vm}/** wkl,
  deny /proc/{kcore,kmem,mem,sysrq-trigger} rwklx,
  deny /sys/{block,bus,class,dev,devices,firmware,hypervisor,kernel,module,power}/** wkl,
  deny /sys/kernel/{debug,security,tracing}/** rwklx,
  deny /sys/firmware/** rwklx,
}
