/**
 * The names that ipvsadm, keepalived, the kernel and manuals have for what is named otherwise here. A mistake is answered
 * with our name; nothing is taken for another thing.
 */

const METHODS: Readonly<Record<string, string>> = {
  masquerade: 'nat masq masquerading dnat lvsnat -m --masquerading',
  direct:
    'dr droute dsr directroute directrouting gate gateway gatewaying route routing lvsdr -g --gatewaying',
  tunnel: 'tun tunl ipip tunneling tunnelling iptunnel lvstun -i --ipip',
  local: 'localnode localhost lo',
}

const SCHEDULERS: Readonly<Record<string, string>> = {
  rr: 'roundrobin',
  wrr: 'weightedroundrobin weightedrr',
  lc: 'leastconn leastconns leastconnection leastconnections',
  wlc: 'weightedleastconn weightedleastconns weightedleastconnection weightedleastconnections weightedlc',
  lblc: 'localitybasedleastconnection localitybasedleastconnections',
  lblcr: 'localitybasedleastconnectionwithreplication localitybasedleastconnectionswithreplication',
  dh: 'dsthash destinationhash destinationhashing',
  sh: 'srchash source sourcehash sourcehashing iphash sourceip',
  sed: 'shortestexpecteddelay',
  nq: 'neverqueue',
  fo: 'failover weightedfailover',
  ovf: 'overflow weightedoverflow',
  mh: 'maglev maglevhash maglevhashing',
  twos: 'powerof2 poweroftwo poweroftwochoices',
}

const PROTOCOLS: Readonly<Record<string, string>> = {
  tcp: 'http https http2 tls ssl tcp4 tcp6 -t --tcpservice',
  udp: 'quic http3 udp4 udp6 -u --udpservice',
  sctp: '--sctpservice',
  fwmark: 'fwm fw mark firewallmark -f --fwmarkservice',
}

/** All fields of services and real servers, so that those of ours are soon passed over. */
const FIELDS: Readonly<Record<string, string>> = {
  services: 'virtualserver virtualservers virtualservice virtualservices vserver vservers frontends',
  protocol: 'proto',
  address: 'vip virtualip ip ipaddress host hostname addr rip dip',
  port: 'vport rport',
  fwmark: 'fwm mark firewallmark',
  family: 'af addressfamily',
  scheduler: 'lbalgo lvssched algo algorithm sched schedname balance policy strategy',
  schedulerFlags: 'schedflags shport shfallback mhport mhfallback',
  onePacket: 'ops onepacketscheduling',
  persistence: 'persistent sticky affinity',
  'persistence.timeoutSeconds': 'persistencetimeout',
  'persistence.netmask': 'persistencegranularity granularity',
  persistenceEngine: 'pe pename',
  realServers:
    'realserver backend backends server servers upstream upstreams member members destinations dests targets nodes',
  method: 'lbkind lvsmethod kind mode forward forwarding forwardingmethod fwdmethod packetforwardingmethod',
  weight: 'ratio priority',
  upperThreshold: 'uthreshold uthresh maxconn maxconns maxconnections connectionlimit',
  lowerThreshold: 'lthreshold lthresh',
  tunnel: 'tun encap encapsulation',
  'tunnel.type': 'tuntype tunneltype',
  'tunnel.port': 'tunport tunnelport',
  'tunnel.checksum': 'tuncsum tunremcsum tunnocsum',
  multicastInterface: 'interface mcastinterface mcastifn',
}

/** Fields of keepalived that belong to its health checks. */
const HEALTH_CHECKS =
  'quorum quorumup quorumdown hysteresis delayloop sorryserver sorryserverinhibit inhibitonfailure alpha omega retry ' +
  'delaybeforeretry connecttimeout virtualhost notifyup notifydown tcpcheck httpget sslget misccheck smtpcheck dnscheck ' +
  'udpcheck bfdcheck filecheck pingcheck healthcheck healthchecks check'

const VALUES = { method: METHODS, scheduler: SCHEDULERS, protocol: PROTOCOLS } as const

/** What a value that was given for one of these fields is here; `undefined` if it is nothing known, or is ours already. */
export function ourValue(field: 'method' | 'scheduler' | 'protocol', given: unknown): string | undefined {
  // Of 100,000 services most have a scheduler of ours.
  if (typeof given !== 'string' || Object.hasOwn(VALUES[field], given)) return undefined
  return ours(VALUES[field], given)
}

/** The field of ours, one of these or a field inside one, that a field that we do not have may be. */
export function ourField(given: string, fields: readonly string[]): string | undefined {
  if (Object.hasOwn(FIELDS, given)) return undefined
  const found = ours(FIELDS, given)
  return found !== undefined && fields.includes(found.split('.', 1)[0] ?? '') ? found : undefined
}

/** Whether a field is about health checks, which ipvs does not do. */
export function isHealthCheck(field: string): boolean {
  return HEALTH_CHECKS.split(' ').includes(plain(field))
}

/** Looks a name up: slowly, for this is only called for mistakes. */
function ours(names: Readonly<Record<string, string>>, given: string): string | undefined {
  const name = plain(given)
  return Object.keys(names).find(
    (ours) => plain(ours) === name || names[ours]?.split(' ').includes(name) === true,
  )
}

/** A name without what writers differ in: capital letters, and what is between words. */
function plain(name: string): string {
  return name.toLowerCase().replaceAll(/(?<=\w)[-_. ]/g, '')
}
