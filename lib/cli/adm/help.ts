import { documentation } from '../documentation.ts'
import type { ProgramSession } from './run.ts'

/** The version line of ipvsadm 1.31, word for word, since scripts parse it. The last number is that of its headers. */
export const VERSION = 'ipvsadm v1.31 2019/12/24 (compiled with popt and IPVS v1.2.1)\n'

export const HELP_STATUS = 0

export function printHelp({ program, out }: Pick<ProgramSession, 'program' | 'out'>): void {
  const usage = USAGE.map((synopsis) => `  ${program} ${synopsis}\n`).join('')
  out(`${VERSION}Usage:\n${usage}\n${TEXT}\n${documentation('ipvsadm.md')}\n`)
}

const USAGE = [
  '-A|E virtual-service [-s scheduler] [-p [timeout]] [-M netmask] [--pe persistence_engine] [-b sched-flags] [-o]',
  '-D virtual-service',
  '-C',
  '-R',
  '-S [-n]',
  '-a|e virtual-service -r server-address [server-options]',
  '-d virtual-service -r server-address',
  '-L|l [virtual-service] [list-options]',
  '-Z [virtual-service]',
  '--set tcp tcpfin udp',
  '--start-daemon {master|backup} [daemon-options]',
  '--stop-daemon {master|backup}',
  '-h',
]

const TEXT = `Commands:
Exactly one of these, before all options: a letter or the long name.
  --add-service     -A        add a virtual service
  --edit-service    -E        change the options of a virtual service
  --delete-service  -D        delete a virtual service with its real servers
  --clear           -C        delete all virtual services
  --restore         -R        execute the command lines on standard input
  --save            -S        print the command lines that restore the table
  --add-server      -a        add a real server
  --edit-server     -e        change the options of a real server
  --delete-server   -d        delete a real server
  --list            -L|-l     list the table, or one virtual service
  --zero            -Z        reset the counters of all or of one virtual service
  --set tcp tcpfin udp        set timeouts in seconds; 0 keeps the present value
  --start-daemon              start a connection synchronisation daemon
  --stop-daemon               stop one
  --help            -h        print this text

virtual-service:
  --tcp-service|-t  address   TCP, host[:port]
  --udp-service|-u  address   UDP, host[:port]
  --sctp-service    address   SCTP, host[:port]
  --fwmark-service|-f fwmark  a firewall mark, 1 to 4294967295

Options:
  --ipv6         -6                   the firewall mark before it is for IPv6 packets
  --scheduler    -s scheduler         rr|wrr|lc|wlc|lblc|lblcr|dh|sh|sed|nq|fo|ovf|mh,
                                      wlc by default
  --pe            engine              persistence engine: sip
  --persistent   -p [timeout]         persistent service, timeout in seconds (360)
  --netmask      -M netmask           group clients by network: mask, or IPv6 prefix length
  --real-server  -r server-address    host[:port]
  --gatewaying   -g                   forward by direct routing (this is the default)
  --ipip         -i                   forward through a tunnel
  --masquerading -m                   forward by network address translation
  --tun-type      type                tunnel: ipip|gue|gre (ipip)
  --tun-port      port                port of a gue tunnel
  --tun-nocsum                        no tunnel checksum (this is the default)
  --tun-csum                          tunnel checksum
  --tun-remcsum                       remote checksum offload, for gue
  --weight       -w weight            share of new connections (1)
  --u-threshold  -x uthreshold        stop new connections at this number (0: no limit)
  --l-threshold  -y lthreshold        take new connections again below this number
  --connection   -c                   list the connections
  --timeout                           list the timeouts
  --daemon                            list the synchronisation daemons
  --stats                             list counters
  --rate                              list rates per second
  --exact        -X                   counters without units
  --thresholds                        list the thresholds
  --persistent-conn                   list persistent connections
  --tun-info                          list the tunnels
  --nosort                            list in the kernel's order
  --sort                              no effect: kept for old scripts
  --ops          -o                   schedule each UDP packet on its own
  --numeric      -n                   addresses and ports as numbers
  --sched-flags  -b flags             flags of the scheduler, separated by commas

Daemon Options:
  --syncid        id                  group of daemons, 0 to 255 (0)
  --sync-maxlen   length              longest message in bytes
  --mcast-interface interface         network interface (eth0)
  --mcast-group   address             multicast group (224.0.0.81)
  --mcast-port    port                UDP port (8848)
  --mcast-ttl     ttl                 time to live (1)
`
