import { getSystemErrorMap } from 'node:util'
import type { IpvsError } from '../../index.ts'
import type { CommandName } from '../../ipvsadm/options.ts'

/** The messages of ipvsadm for an errno of the kernel, by command. For others it prints that of the C library. */

const ANY: Readonly<Record<string, string>> = {
  EPERM: 'Permission denied (you must be root)',
  EINVAL: 'Invalid operation.  Possibly wrong module version, address not unicast, ...',
  ENOPROTOOPT: 'Protocol not available',
  ENOMEM: 'Memory allocation problem',
  EOPNOTSUPP: 'Operation not supported with IPv6',
  EAFNOSUPPORT: 'Operation not supported with specified address family',
  EMSGSIZE: 'Module is wrong version',
}

const NO_SERVICE = 'No such service'
const NO_SCHEDULER = 'Scheduler or persistence engine not found'
const NOT_DEFINED = 'Service not defined'
const NO_SERVER = 'No such destination'

const OF_COMMAND: Readonly<Partial<Record<CommandName, Readonly<Record<string, string>>>>> = {
  'add-service': { EEXIST: 'Service already exists', ENOENT: NO_SCHEDULER },
  'edit-service': { ESRCH: NO_SERVICE, ENOENT: NO_SCHEDULER },
  'delete-service': { ESRCH: NO_SERVICE },
  zero: { ESRCH: NO_SERVICE },
  list: { ESRCH: NO_SERVICE },
  'add-server': { ESRCH: NOT_DEFINED, EEXIST: 'Destination already exists' },
  'edit-server': { ESRCH: NOT_DEFINED, ENOENT: NO_SERVER },
  'delete-server': { ESRCH: NOT_DEFINED, ENOENT: NO_SERVER },
  'start-daemon': { EEXIST: 'Daemon has already run' },
  'stop-daemon': { ESRCH: 'No daemon is running' },
}

/** strerror(3) of glibc, where Node's messages differ. */
const LIBRARY: Readonly<Record<string, string>> = {
  ENOENT: 'No such file or directory',
  ESRCH: 'No such process',
  EEXIST: 'File exists',
  EBUSY: 'Device or resource busy',
  ENODEV: 'No such device',
  ERANGE: 'Numerical result out of range',
  EADDRINUSE: 'Address already in use',
  EADDRNOTAVAIL: 'Cannot assign requested address',
  ENETDOWN: 'Network is down',
  ENETUNREACH: 'Network is unreachable',
  ENOBUFS: 'No buffer space available',
  ETIMEDOUT: 'Connection timed out',
}

export function messageOf(error: IpvsError, command?: CommandName): string {
  const { code } = error
  const own = command === undefined ? undefined : OF_COMMAND[command]?.[code]
  return own ?? ANY[code] ?? LIBRARY[code] ?? getSystemErrorMap().get(error.errno)?.[1] ?? code
}
