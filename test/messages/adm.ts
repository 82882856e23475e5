import { Ipvs } from '../../lib/index.ts'
import { runNamed } from '../../lib/cli/adm/program.ts'
import { systemNames } from '../../lib/cli/names.ts'
import type { MemoryKernel } from '../../lib/testing.ts'
import { type Case, type Room, usualKernel } from './room.ts'

interface Around {
  readonly stdin?: string
  readonly kernel?: (kernel: MemoryKernel) => void
  readonly shown?: string
  /** Standard input that is not shown. */
  readonly pieces?: Iterable<Uint8Array>
}

const ZEROS = new Uint8Array(2 ** 24)

/** A command line of `ipvs adm`: what it writes, and its exit status. */
function adm(
  line: string,
  { stdin, kernel: prepare, shown, pieces = [Buffer.from(stdin ?? '')] }: Around = {},
): Case {
  const input = [shown ?? line, ...(stdin === undefined ? [] : ['standard input:', stdin.trimEnd()])].join(
    '\n',
  )
  return {
    input,
    async message() {
      const kernel = await usualKernel()
      prepare?.(kernel)
      let out = ''
      const [program = '', ...args] = line.split(' ')
      const status = await runNamed(args, {
        program,
        posix: false,
        input: () => pieces,
        out: (text) => (out += text),
        err: (text) => (out += text),
        names: systemNames,
        open: () => Ipvs.open({ transport: kernel }),
      })
      return `${out}exit status ${String(status)}`
    },
  }
}

const failing = (errno: string, line: string): Case =>
  adm(line, {
    kernel: (kernel) => {
      kernel.failNext({ errno, command: line.includes(' -L') ? 'getService' : 'flush' })
    },
    shown: `${line}  # the kernel answers ${errno}`,
  })

const A = 'ipvsadm -A -t 192.0.2.11:80'
const R = 'ipvsadm -a -t 192.0.2.10:80 -r 10.0.0.9'

export const admRoom: Room = {
  title: '`ipvs adm`',
  about: 'It says what ipvsadm 1.31 says, word for word: these are not ours to improve.',
  cases: [
    adm('ipvsadm', {
      kernel: (kernel) => {
        kernel.loaded = false
      },
      shown: 'ipvsadm -L  # no IPVS in the kernel',
    }),
    adm('ipvsadm -L', {
      kernel: (kernel) => {
        kernel.privileged = false
      },
      shown: 'ipvsadm -L  # not root',
    }),
    ...[
      'ipvsadm -j',
      'ipvsadm --flush',
      'ipvsadm -A -j',
      'ipvsadm -A --schedular rr',
      'ipvsadm -A --ops=yes',
      'ipvsadm -A -o=yes',
      'ipvsadm -A -t',
      'ipvsadm -A',
      'ipvsadm -A -t 192.0.2.11:80 -D',
      'ipvsadm -t 192.0.2.10:80',
      'ipvsadm -C all',
      'ipvsadm -A -t 192.0.2.11:80 -s rr -s wlc',
      'ipvsadm -A -t nothing',
      'ipvsadm -A -t 5',
      'ipvsadm -A -f zero',
      'ipvsadm -A -6 -f 5',
      'ipvsadm -A -t 192.0.2.11:0',
      `${A} -o`,
      `${A} -p ever`,
      `${A} -p 300 -M 24.5.x`,
      'ipvsadm -A -t [2001:db8::1]:80 -p 300 -M 129',
      `${A} -b port`,
      `${A} -b sh-port`,
      `${A} -s nosuch`,
      `${A} -w 5`,
      'ipvsadm -A -t 192.0.2.10:80',
      'ipvsadm -E -t 192.0.2.11:80',
      'ipvsadm -D -t 192.0.2.11:80',
      'ipvsadm -Z -t 192.0.2.11:80',
      'ipvsadm -L -t 192.0.2.11:80',
      'ipvsadm -L --stats -c',
      'ipvsadm -L --timeout --stats',
      'ipvsadm -a -t 192.0.2.11:80 -r 10.0.0.9',
      'ipvsadm -e -t 192.0.2.10:80 -r 10.0.0.9',
      'ipvsadm -d -t 192.0.2.10:80 -r 10.0.0.9',
      'ipvsadm -a -t 192.0.2.10:80 -r 5',
      'ipvsadm -a -t 192.0.2.10:80 -r 0.0.0.0',
      'ipvsadm -a -t 192.0.2.10:80 -r 10.0.0.7:8080 -m',
      'ipvsadm -a -t 192.0.2.10:80 -r [2001:db8::9]:80',
      `${R} -g -m`,
      `${R} -w many`,
      `${R} -x many`,
      `${R} -y many`,
      `${R} -x 1 -y 2`,
      `${R} -i --tun-type vxlan`,
      `${R} -i --tun-type gue`,
      `${R} -i --tun-type ipip --tun-port 6080`,
      `${R} -i --tun-type gue --tun-port many`,
      `${R} -i --tun-type gue --tun-port 6080 --tun-csum --tun-nocsum`,
      `${R} -g --tun-type gue`,
      'ipvsadm --set 900 120',
      'ipvsadm --set 900 120 never',
      'ipvsadm --start-daemon primary',
      'ipvsadm --stop-daemon primary',
      'ipvsadm --stop-daemon master',
      'ipvsadm --start-daemon master --mcast-interface eth7',
      'ipvsadm --start-daemon master --syncid 256',
      'ipvsadm --start-daemon master --mcast-port 0',
      'ipvsadm --start-daemon master --mcast-ttl 0',
      'ipvsadm --start-daemon master --sync-maxlen 0',
      'ipvsadm --start-daemon master --mcast-group 10.0.0.1',
      'ipvsadm --start-daemon master --mcast-group fe80::1',
      'ipvsadm-save -x',
    ].map((line) => adm(line)),
    adm('ipvsadm -R', { stdin: '-A -t 192.0.2.11:80\n-A -t 192.0.2.11:80\n' }),
    adm('ipvsadm -R', { stdin: '--start-daemon master\n--start-daemon master\n' }),
    adm('ipvsadm-restore', { stdin: '-A -t 192.0.2.11:80 -j\n' }),
    adm('ipvsadm -R', {
      pieces: [Buffer.alloc(2 ** 21, 'x')],
      shown: "tr '\\0' x </dev/zero | ipvsadm -R",
    }),
    adm('ipvsadm-restore', {
      pieces: Array.from({ length: 20 }, () => ZEROS),
      shown: 'ipvsadm-restore </dev/zero',
    }),
    ...[
      'EINVAL',
      'ENOPROTOOPT',
      'ENOMEM',
      'EOPNOTSUPP',
      'EAFNOSUPPORT',
      'EMSGSIZE',
      'ENOENT',
      'ESRCH',
      'EEXIST',
      'EBUSY',
      'ENODEV',
      'ERANGE',
      'EADDRINUSE',
      'EADDRNOTAVAIL',
      'ENETDOWN',
      'ENETUNREACH',
      'ENOBUFS',
      'ETIMEDOUT',
      'EIO',
    ].map((errno) => failing(errno, 'ipvsadm -C')),
  ],
}
