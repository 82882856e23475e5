// What a script pays before it can do anything: node, the library, a socket to the kernel.
import { Ipvs } from 'ipvs'

const ipvs = await Ipvs.open()
await ipvs.close()
