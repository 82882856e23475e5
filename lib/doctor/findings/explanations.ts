import type { Explanation, FindingCode } from './finding.ts'

const PAGE = 'docs/doctor.md'

/** The page of the documentation that explains each kind of finding, and a sentence that stands there. */
export const EXPLANATIONS: Readonly<Record<FindingCode, Explanation>> = {
  'cannot-look': {
    page: PAGE,
    sentence:
      'The doctor reads addresses, routes and rules with the programs of the machine, and says nothing about what it could not read.',
  },
  'no-permission': {
    page: PAGE,
    sentence: 'The kernel shows its table to nobody who lacks the capability CAP_NET_ADMIN.',
  },
  'no-module': {
    page: PAGE,
    sentence: 'IPVS is the kernel module ip_vs, which has to be loaded.',
  },
  'scheduler-missing': {
    page: PAGE,
    sentence: 'Each scheduler is a kernel module, and without one a service refuses every client.',
  },
  'engine-missing': {
    page: PAGE,
    sentence:
      'A persistence engine is a kernel module, and the kernel refuses a service whose engine it cannot load.',
  },
  'forwarding-off': {
    page: PAGE,
    sentence:
      'With method masquerade the director is the router of its real servers, so the kernel has to forward packets.',
  },
  'redirects-sent': {
    page: PAGE,
    sentence:
      'A router tells its neighbours about shorter ways, and an answer that takes the shorter way does not pass the director.',
  },
  'server-beside-clients': {
    page: PAGE,
    sentence:
      'A real server answers a client in its own network directly, from an address that the client did not ask.',
  },
  'other-gateway': {
    page: PAGE,
    sentence:
      'With method masquerade the answers of a real server have to pass the director, which puts the virtual address back into them.',
  },
  'port-ignored': {
    page: PAGE,
    sentence: 'Only method masquerade changes the port of a packet.',
  },
  'no-route': {
    page: PAGE,
    sentence: 'The director sends packets to a real server by its own routes.',
  },
  'neighbour-silent': {
    page: PAGE,
    sentence:
      'A real server in a network of the director has to answer when the director asks for its hardware address.',
  },
  'address-missing': {
    page: PAGE,
    sentence: 'A machine takes only packets that are for an address of its own.',
  },
  'address-announced': {
    page: PAGE,
    sentence:
      'With method direct every machine has the virtual address, but only the director may answer ARP for it.',
  },
  'source-check': {
    page: PAGE,
    sentence: 'A reverse-path filter drops packets that arrive where the answer would not leave.',
  },
  'tunnel-missing': {
    page: PAGE,
    sentence: 'A real server behind a tunnel needs a device that takes the packets out of it.',
  },
  'tunnel-too-narrow': {
    page: PAGE,
    sentence: 'A tunnel puts a header before each packet, so the largest packets of clients no longer fit.',
  },
  'conntrack-off': {
    page: PAGE,
    sentence: 'A packet of IPVS gets another source address only if the kernel tracks its connection.',
  },
  'conntrack-full': {
    page: PAGE,
    sentence: 'When the table of tracked connections is full, the kernel drops the packets of new ones.',
  },
  'hash-small': {
    page: PAGE,
    sentence: 'The kernel finds a connection in a table of lists, and long lists cost time for every packet.',
  },
  'connections-near-limit': {
    page: PAGE,
    sentence: 'At conn_max connections the kernel accepts no new one.',
  },
  'no-servers': {
    page: PAGE,
    sentence: 'A service without real servers refuses every client.',
  },
  'all-quiescent': {
    page: PAGE,
    sentence: 'A real server with weight 0 gets no new connections.',
  },
  'persistence-of-one': {
    page: PAGE,
    sentence:
      'Persistence keeps a client with a real server, and with one server there is no choice to keep.',
  },
  'deleted-hold-clients': {
    page: PAGE,
    sentence:
      'Unless expire_nodest_conn is 1, packets of a connection to a deleted real server are dropped until the connection expires.',
  },
  'quiescent-hold-clients': {
    page: PAGE,
    sentence:
      'Unless expire_quiescent_template is 1, persistence brings known clients back to a real server with weight 0.',
  },
  'reuse-holds-clients': {
    page: PAGE,
    sentence:
      'When a client reuses a port, conn_reuse_mode decides whether its connection is scheduled anew.',
  },
  'service-shadowed': {
    page: PAGE,
    sentence: 'The kernel looks for a service by firewall mark first.',
  },
  'persistence-overlaps': {
    page: PAGE,
    sentence: 'Each persistent service remembers its clients by itself.',
  },
  'scheduler-change': {
    page: PAGE,
    sentence: 'Before Linux 7.2 a change of scheduler under traffic could use memory that was freed already.',
  },
  'ftp-unaided': {
    page: PAGE,
    sentence: 'FTP sends addresses and ports inside its connection, which the module ip_vs_ftp rewrites.',
  },
  'sync-interface': {
    page: PAGE,
    sentence: 'A sync daemon sends and hears multicast on one interface, which has to be up.',
  },
  'sync-mismatch': {
    page: PAGE,
    sentence: 'A backup hears a master only with the same group, port and sync id.',
  },
  'firewall-drops': {
    page: PAGE,
    sentence:
      'A firewall has to accept the packets of a service in each chain that they pass, and the answers too.',
  },
  'beside-kube-proxy': {
    page: PAGE,
    sentence: 'kube-proxy in mode ipvs deletes every service that it does not know.',
  },
  'beside-ebpf': {
    page: PAGE,
    sentence: 'A program that runs before the network stack may take packets that IPVS never sees.',
  },
}
