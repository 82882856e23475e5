import { expect, test } from 'vitest'
import { commandInNetns } from '../../lib/doctor/in-netns.ts'

/** Commands that findings print, for whoever is outside of the namespace that was looked at. */
test.each([
  ['sysctl -w net.ipv4.ip_forward=1', 'blue', 'ip netns exec blue sysctl -w net.ipv4.ip_forward=1'],
  ['ip link set eth0 up', '/proc/7/ns/net', 'nsenter --net=/proc/7/ns/net -- ip link set eth0 up'],
  ['ipvs weight fwmark/1 10.0.0.1 1', 'blue', 'ipvs --netns blue weight fwmark/1 10.0.0.1 1'],
  ['ip link set eth0 up', 'a b', "ip netns exec 'a b' ip link set eth0 up"],
  ['modprobe ip_vs', 'blue', 'modprobe ip_vs'],
  ['apt-get install iproute2', 'blue', 'apt-get install iproute2'],
  ['sysctl -w net.netfilter.nf_conntrack_max=20', 'blue', 'sysctl -w net.netfilter.nf_conntrack_max=20'],
])('%s, in %s', (command, netns, expected) => {
  expect(commandInNetns(command, netns)).toBe(expected)
})
