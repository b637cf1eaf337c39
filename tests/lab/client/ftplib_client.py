# Python's ftplib as a client of the lab: does the steps that its arguments name, in one session, and prints the dialogue.
# Lives here: the choice between PORT, EPRT, PASV and EPSV, which ftplib itself makes by address family alone.
# Arguments: server user password mode seconds, then for each step: what remote local offset.
import ftplib
import os
import socket
import sys


class Client(ftplib.FTP):
    mode = "PASV"

    def makepasv(self):
        if self.mode == "PASV":
            return ftplib.parse227(self.sendcmd("PASV"))
        return ftplib.parse229(self.sendcmd("EPSV"), self.sock.getpeername())

    def makeport(self):
        listener = socket.create_server(("", 0), family=self.af, backlog=1)
        listener.settimeout(self.timeout)
        (host, port) = (self.sock.getsockname()[0], listener.getsockname()[1])
        if self.mode == "PORT":
            self.sendport(host, port)
        else:
            self.sendeprt(host, port)
        return listener


def main(server, user, password, mode, seconds, *steps):
    ftp = Client(timeout=int(seconds))
    ftp.mode = mode
    ftp.set_debuglevel(1)
    ftp.set_pasv(mode in ("PASV", "EPSV"))
    ftp.connect(server, 21)
    ftp.login(user, password)
    for what, remote, local, offset in zip(*[iter(steps)] * 4):
        if what == "list":
            ftp.retrlines("LIST")
        elif what == "fetch":
            with open(local, "wb") as file:
                ftp.retrbinary("RETR " + remote, file.write)
        elif what == "store":
            with open(local, "rb") as file:
                ftp.storbinary("STOR " + remote, file)
        elif what == "resume-fetch":
            with open(local, "ab") as file:
                ftp.retrbinary("RETR " + remote, file.write, rest=os.path.getsize(local))
        elif what == "resume-store":
            with open(local, "rb") as file:
                file.seek(int(offset))
                ftp.storbinary("APPE " + remote, file)
        else:
            sys.exit("unknown step " + what)
    ftp.quit()


main(*sys.argv[1:])
