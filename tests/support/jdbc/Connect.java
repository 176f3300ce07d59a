import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;

/** Connects with the URL on standard input, and nothing else; prints the user, how, and by which driver. */
public final class Connect {
    public static void main(String[] arguments) throws IOException {
        String url = new BufferedReader(new InputStreamReader(System.in)).readLine();
        boolean isPostgres = url.startsWith("jdbc:postgresql:");
        try (Connection connection = DriverManager.getConnection(url);
                Statement statement = connection.createStatement()) {
            if (isPostgres) {
                // The owner role that the login assumes may not see the login's statistics.
                statement.execute("SET ROLE NONE");
            }
            String user = isPostgres ? "SELECT session_user" : "SELECT SUBSTRING_INDEX(USER(), '@', 1)";
            String cipher = isPostgres
                    ? "SELECT cipher FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
                    : "SELECT VARIABLE_VALUE FROM information_schema.SESSION_STATUS WHERE VARIABLE_NAME = 'Ssl_cipher'";
            String how = text(statement, cipher).isEmpty() ? "in the clear" : "encrypted";
            String driver = connection.getMetaData().getDriverName();
            System.out.println(text(statement, user) + " " + how + " by " + driver);
        } catch (SQLException error) {
            for (Throwable cause = error; cause != null; cause = cause.getCause()) {
                System.err.println(cause);
            }
            System.exit(1);
        }
    }

    private static String text(Statement statement, String sql) throws SQLException {
        try (ResultSet rows = statement.executeQuery(sql)) {
            String text = rows.next() ? rows.getString(1) : null;
            return text == null ? "" : text;
        }
    }
}
