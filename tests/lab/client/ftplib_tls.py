# Python's ftplib with TLS as a client of the lab.
# Lives here: transfers with PROT P; a data connection that resumes the TLS session of the control connection; an upload that is cut.
# Arguments: server user password authorities folder what.
import ftplib
import os
import socket
import ssl
import sys


class Client(ftplib.FTP_TLS):
    resumes = False
    resumed = None

    def ntransfercmd(self, cmd, rest=None):
        conn, size = ftplib.FTP.ntransfercmd(self, cmd, rest)
        if self._prot_p:
            session = self.sock.session if self.resumes else None
            conn = self.context.wrap_socket(conn, server_hostname=self.host, session=session)
            self.resumed = conn.session_reused
        return conn, size


def main(server, user, password, authorities, folder, what):
    context = ssl.create_default_context(cafile=authorities)
    if what.endswith("1.2"):
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    ftp = Client(context=context, timeout=15)
    ftp.resumes = True
    ftp.connect(server, 21)
    ftp.login(user, password)
    ftp.prot_p()
    local = os.path.join(folder, "fetched-by-ftplib")
    if what == "transfers":
        for passive in (True, False):
            ftp.set_pasv(passive)
            ftp.retrlines("LIST")
            with open(local, "wb") as file:
                ftp.retrbinary("RETR large.bin", file.write)
            with open(local, "rb") as file:
                ftp.storbinary("STOR pub/stored.bin", file)
    elif what.startswith("resume"):
        for _ in range(4):
            ftp.retrlines("LIST")
            print("data connection resumed:", ftp.resumed)
            assert ftp.resumed
    elif what == "cut":
        conn, _ = ftp.ntransfercmd("STOR pub/cut.bin")
        conn.sendall(b"x" * 100000)
        # A FIN without a close_notify before it.
        conn.shutdown(socket.SHUT_WR)
        try:
            ftp.voidresp()
            sys.exit("the server took it for a whole file")
        except ftplib.Error as error:
            print("answered:", error)
        conn.close()
    else:
        sys.exit("unknown word " + what)
    ftp.quit()


main(*sys.argv[1:])
