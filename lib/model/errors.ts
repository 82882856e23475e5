import { Errno, errnoName } from './errno.ts'
import type { IpvsErrorCode } from './error-codes.ts'
import { endpointName, serviceName } from './keys.ts'
import type { RealServerKey, ServiceKey } from './types.ts'

/** What an IpvsError is about. */
export interface IpvsErrorDetails {
  /** Linux errno, positive. */
  readonly errno: number
  /** The method that failed, such as 'deleteService'. */
  readonly command: string
  /** The virtual service it is about. */
  readonly service?: ServiceKey | undefined
  /** The real server it is about. */
  readonly realServer?: RealServerKey | undefined
  /** For the message: the scheduler and engine asked for a service, the interface asked for a sync daemon. */
  readonly scheduler?: string | undefined
  /** For the message, likewise. */
  readonly persistenceEngine?: string | undefined
  /** For the message, likewise. */
  readonly multicastInterface?: string | undefined
  /** The network namespace to enter, as the caller named it. */
  readonly netns?: string | undefined
  /** System call that failed; absent where the kernel answered a request with the errno. */
  readonly syscall?: string | undefined
  /** The errno comes from looking up IPVS in the kernel. */
  readonly noFamily?: boolean | undefined
  /** The errno comes from opening the file of the network namespace. */
  readonly noNamespace?: boolean | undefined
  /** The kernel's own words, where it sent any. */
  readonly kernelMessage?: string | undefined
  /** Text for people. Default: what the errno means for this command, and what to do about it. */
  readonly message?: string | undefined
}

/**
 * The kernel refused, or could not be reached. Has the shape of Node's own
 * system errors. docs/errors.md has a heading for each `code`. Misuse is not an
 * IpvsError: it throws a TypeError or RangeError before anything is sent.
 */
export class IpvsError extends Error {
  /** Name of the errno, such as 'ESRCH'. */
  readonly code: IpvsErrorCode
  /** The errno, negative as in Node's system errors: -3. */
  readonly errno: number
  /** The method that failed, such as 'deleteService'. */
  readonly command: string
  /** The virtual service it is about. */
  declare readonly service?: ServiceKey
  /** The real server it is about. */
  declare readonly realServer?: RealServerKey
  /** System call that failed; absent where the kernel answered a request with the errno. */
  declare readonly syscall?: string
  /** True if the kernel has no IPVS, or no longer has it, rather than the table lacking an entry. */
  declare readonly noFamily?: boolean
  /** The kernel's own words, where it sent any. */
  declare readonly kernelMessage?: string

  constructor(details: IpvsErrorDetails) {
    const code = errnoName(details.errno)
    super(details.message ?? explain(code, details))
    this.name = 'IpvsError'
    this.code = code
    this.errno = -details.errno
    this.command = details.command
    if (details.service !== undefined) this.service = details.service
    if (details.realServer !== undefined) this.realServer = details.realServer
    if (details.syscall !== undefined) this.syscall = details.syscall
    if (details.noFamily !== undefined) this.noFamily = details.noFamily
    if (details.kernelMessage !== undefined) this.kernelMessage = details.kernelMessage
  }
}

/** 3 for 'ESRCH'; `undefined` for a name that is not in the list. */
export function errnoNumber(name: string): number | undefined {
  return Object.hasOwn(Errno, name) ? Errno[name as keyof typeof Errno] : undefined
}

/** One sentence on what happened, then what to do about it. */
function explain(code: string, details: IpvsErrorDetails): string {
  const subject = nameSubject(details)
  const reason = reasonOf(code, details)
  const words = details.kernelMessage === undefined ? '' : ` The kernel says: ${details.kernelMessage}.`
  return `${code}: ${details.command}${subject === '' ? '' : ` ${subject}`}: ${reason}${words}`
}

function nameSubject({ service, realServer }: IpvsErrorDetails): string {
  const parts: string[] = []
  if (service !== undefined) parts.push(serviceName(service))
  if (realServer !== undefined) parts.push(endpointName(realServer.address, realServer.port))
  return parts.join(' -> ')
}

function reasonOf(code: string, details: IpvsErrorDetails): string {
  const { command, syscall } = details
  if (details.noFamily === true && code === 'ENOENT') {
    return (
      'this kernel has no IPVS: load it with `modprobe ip_vs`. If there is no such module, ' +
      'install the package with the modules of the running kernel (`uname -r`).'
    )
  }
  if (syscall !== undefined) {
    const way = reasonOfSystemCall(code, syscall, details)
    if (way !== undefined) return way
  }
  switch (code) {
    case 'EPERM':
      return (
        'permission denied: IPVS needs the capability CAP_NET_ADMIN in the initial user namespace, for reading too. ' +
        'Run as root, or give the process that capability (being root in a container that has its own user namespace is not enough).'
      )
    case 'ENOENT':
      return reasonOfMissing(details)
    case 'ESRCH':
      return command === 'stopSyncDaemon'
        ? 'no sync daemon in that role is running.'
        : 'there is no such virtual service in this network namespace.'
    case 'EEXIST':
      return reasonOfExisting(command)
    case 'EINVAL':
      return reasonOfInvalid(command)
    case 'ERANGE':
      return 'the kernel refuses a number as out of range: a weight of 2^31 or more, or a lowerThreshold above upperThreshold.'
    case 'EAFNOSUPPORT':
      return 'the kernel does not know this address family; for IPv6 it must be built with CONFIG_IP_VS_IPV6.'
    case 'ENODEV':
      return `there is no interface ${nameOf(details.multicastInterface)} in this network namespace; \`ip link\` lists them.`
    case 'ENETUNREACH':
      return 'there is no route to the multicast group; give the interface an address, or add a route to the group.'
    case 'EADDRINUSE':
      return 'the UDP port of the sync daemon is in use; choose another multicastPort.'
    case 'ENOPROTOOPT':
      return 'the ip_vs module is being unloaded; load it again with `modprobe ip_vs`.'
    case 'EOPNOTSUPP':
      return 'this kernel does not have the command.'
    case 'ENOMEM':
      return 'the kernel is out of memory.'
    case 'ENOBUFS':
      return 'a reply was lost, so it is not known whether the request was done; read the table.'
    case 'ETIMEDOUT':
      return 'no reply within timeoutMs, so it is not known whether the request was done; read the table.'
    case 'EBADMSG':
      return 'a reply from the kernel could not be read.'
    case 'EBADF':
      return 'this Ipvs is closed; open another with Ipvs.open().'
    case 'ECANCELED':
      return 'the request was not sent, because the socket failed at an earlier one.'
    case 'EBUSY':
      return 'the socket is still busy with another dump.'
    case 'EAGAIN':
      return 'the table kept changing while it was read.'
    default:
      return `${syscall ?? 'the request'} failed.`
  }
}

/** Files that methods read. They exist while the module is loaded. */
const PROC_FILES: Readonly<Record<string, string>> = {
  connections: '/proc/net/ip_vs_conn',
  totals: '/proc/net/ip_vs_stats',
}

function reasonOfSystemCall(
  code: string,
  syscall: string,
  { command, netns, noNamespace }: IpvsErrorDetails,
): string | undefined {
  const name = netns === undefined ? '' : ` '${netns}'`
  if (command === 'lock') {
    return (
      'the lock of this table is a file in /run/ipvs, which this process cannot use: only root can make that folder, and ' +
      'only its owner may have permission to write to it. A systemd service gets the folder with ' +
      '`RuntimeDirectory=ipvs` and `RuntimeDirectoryPreserve=yes`.'
    )
  }
  if (syscall === 'setns' || syscall === 'unshare') {
    if (code === 'EPERM') {
      return 'permission denied: another network namespace needs the capability CAP_SYS_ADMIN, in addition to CAP_NET_ADMIN.'
    }
    if (code === 'EINVAL') return `the file${name} is not a network namespace.`
    return undefined
  }
  if (syscall === 'open' && noNamespace !== true) {
    const file = PROC_FILES[command]
    return file !== undefined && code === 'ENOENT'
      ? `there is no ${file}: load IPVS with \`modprobe ip_vs\`.`
      : 'its file under /proc could not be opened.'
  }
  if (syscall === 'open') {
    if (code === 'ENOENT')
      return `there is no network namespace${name}; \`ip netns list\` shows those that have a name.`
    if (code === 'EACCES') return `this user may not read the file of the network namespace${name}.`
    return `the file of the network namespace${name} could not be opened.`
  }
  if (syscall === 'socket' && (code === 'EAFNOSUPPORT' || code === 'EPROTONOSUPPORT')) {
    return 'this kernel has no generic netlink.'
  }
  return undefined
}

function nameOf(name: string | undefined): string {
  return name === undefined ? 'of that name' : `'${name}'`
}

function reasonOfMissing({ command, scheduler, persistenceEngine }: IpvsErrorDetails): string {
  switch (command) {
    case 'addService':
    case 'editService': {
      const things = [
        ...(scheduler === undefined ? [] : [`scheduler '${scheduler}' (module ip_vs_${scheduler})`]),
        ...(persistenceEngine === undefined
          ? []
          : [`persistence engine '${persistenceEngine}' (module ip_vs_pe_${persistenceEngine})`]),
      ]
      const named =
        things.length > 0
          ? things.join(' or ')
          : 'scheduler (module ip_vs_<scheduler>) or persistence engine (module ip_vs_pe_<engine>)'
      return `${named} not found: it is neither built into the kernel nor a module that could be loaded. Ipvs.probe() lists those that load.`
    }
    case 'editRealServer':
    case 'deleteRealServer':
    case 'realServer':
      return 'the virtual service has no such real server (address and port must both match).'
    default:
      return 'not found.'
  }
}

function reasonOfExisting(command: string): string {
  switch (command) {
    case 'addService':
      return 'the virtual service already exists; change it with editService().'
    case 'addRealServer':
      return 'the virtual service already has this real server; change it with editRealServer().'
    case 'startSyncDaemon':
      return 'a sync daemon in that role is already running. It cannot be edited: stop it first.'
    default:
      return 'it already exists.'
  }
}

function reasonOfInvalid(command: string): string {
  switch (command) {
    case 'addRealServer':
      return (
        'the kernel refuses the real server. To the director its address must be unicast: not 0.0.0.0, multicast, ' +
        "broadcast or another host's link-local address. In a network namespace where no interface is up, " +
        'every address is refused (`ip link set lo up`). While a sync daemon runs, a real server must have the ' +
        'address family of its virtual service.'
      )
    case 'editRealServer':
      return (
        'the kernel refuses the real server. If its address family is not that of its virtual service, its method must ' +
        'be tunnel, and no sync daemon may be running.'
      )
    case 'startSyncDaemon':
      return (
        'the kernel refuses the sync daemon. Its group must be a multicast address, and every real server in this ' +
        'network namespace must have the address family of its virtual service.'
      )
    case 'setTimeouts':
      return 'a timeout is longer than the kernel can hold: 2147483647 divided by its CONFIG_HZ, in seconds (2147483 at 1000 Hz).'
    default:
      return 'the kernel refuses the request as invalid.'
  }
}
