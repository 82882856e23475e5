import { rulesetOf } from '../firewall/read.ts'
import { byVirtualAddress, finding, keysOf, type Look } from './situation.ts'

/** What else on this machine balances, or takes packets. */

export const besideKubeProxy: Look = function* ({ host }) {
  if (host.links.some(({ name }) => name === 'kube-ipvs0')) {
    yield finding(
      'beside-kube-proxy',
      'warning',
      'device kube-ipvs0 is there: kube-proxy in mode ipvs manages the table of this machine, and deletes what it does not know',
      'Services disappear, and their clients are refused.',
    )
    return
  }
  const chain = rulesetOf(host.firewall).chains.find(({ name }) => name === 'KUBE-SERVICES')
  if (chain === undefined) return
  yield finding(
    'beside-kube-proxy',
    'note',
    `chain KUBE-SERVICES is in table ${chain.table} of ${chain.program}: kube-proxy has rules of its own on this machine`,
    'IPVS sees no packets to addresses that are services of Kubernetes too.',
  )
}

export const besideEbpf: Look = function* ({ host, services }) {
  const cilium = host.links.find(({ name }) => /^cilium_(host|net)$/.test(name))
  if (cilium !== undefined) {
    yield finding(
      'beside-ebpf',
      'note',
      `device ${cilium.name} is there: Cilium balances on this machine, too`,
      'IPVS sees no packets to addresses that are services of Kubernetes too.',
    )
  }
  const concerned = byVirtualAddress(services)
  for (const { name, xdp } of host.links) {
    if (!xdp) continue
    const here = host.addresses
      .filter(({ link }) => link === name)
      .flatMap(({ address }) => concerned.get(address) ?? [])
    if (here.length === 0) continue
    yield finding(
      'beside-ebpf',
      'note',
      `a program of XDP is attached to ${name}: see what it is with ip -details link show ${name}`,
      'IPVS sees no packets that it takes.',
      { services: keysOf(here) },
    )
  }
}
