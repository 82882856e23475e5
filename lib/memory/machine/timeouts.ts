import { Errno } from '../../model/errno.ts'
import { refuse } from './refusal.ts'

/** How long idle connections are remembered, in seconds. SET_CONFIG sets these. */
export class ConnectionTimeouts {
  tcp = 900
  tcpFin = 120
  udp = 300

  /** 0 leaves one as it is. All are checked before one is set (ip_vs_set_timeout()). */
  set(tcp: number, tcpFin: number, udp: number, hz: number): void {
    const most = Math.floor(0x7fffffff / hz)
    if ([tcp, tcpFin, udp].some((seconds) => seconds > most)) refuse(Errno.EINVAL)
    if (tcp !== 0) this.tcp = tcp
    if (tcpFin !== 0) this.tcpFin = tcpFin
    if (udp !== 0) this.udp = udp
  }
}
