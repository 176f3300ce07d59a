import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;

/**
 * Connects with the URL in the environment variable that is named, as Spring does with SPRING_DATASOURCE_URL, and prints the
 * user that is logged in. Without a name it connects with each line of the standard input, and prints a line for each.
 */
public final class Connect {
    public static void main(String[] arguments) throws IOException {
        if (arguments.length == 1) {
            String outcome = connect(System.getenv(arguments[0]));
            System.out.println(outcome);
            System.exit(outcome.startsWith("refused: ") ? 1 : 0);
        }
        BufferedReader urls = new BufferedReader(new InputStreamReader(System.in));
        for (String url = urls.readLine(); url != null; url = urls.readLine()) {
            System.out.println(connect(url));
        }
    }

    private static String connect(String url) {
        String user = url.startsWith("jdbc:postgresql:")
                ? "SELECT session_user"
                : "SELECT SUBSTRING_INDEX(USER(), '@', 1)";
        try (Connection connection = DriverManager.getConnection(url);
                Statement statement = connection.createStatement();
                ResultSet rows = statement.executeQuery(user)) {
            rows.next();
            return rows.getString(1);
        } catch (SQLException error) {
            StringBuilder causes = new StringBuilder("refused:");
            for (Throwable cause = error; cause != null; cause = cause.getCause()) {
                causes.append(' ').append(cause.toString().replaceAll("\\s+", " "));
            }
            return causes.toString();
        }
    }
}
