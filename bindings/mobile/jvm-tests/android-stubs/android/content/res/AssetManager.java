package android.content.res;

import android.os.ParcelFileDescriptor;
import java.io.File;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.util.TreeSet;
import java.util.zip.ZipEntry;
import java.util.zip.ZipFile;

/** A stand-in for Android's class, over the entries of an archive below `assets/`. */
public final class AssetManager {
    private final File archive;

    public AssetManager(File archive) {
        this.archive = archive;
    }

    /** The descriptors that nobody has closed. */
    public static int openFiles() {
        return ParcelFileDescriptor.open;
    }

    /** Lists files and folders; a path that is not a folder has none, as on Android. */
    public String[] list(String path) throws IOException {
        TreeSet<String> found = new TreeSet<>();
        String prefix = "assets/" + (path.isEmpty() ? "" : path + "/");
        try (ZipFile zip = new ZipFile(archive)) {
            zip.stream().map(ZipEntry::getName).filter(name -> name.startsWith(prefix)).forEach(name -> {
                found.add(name.substring(prefix.length()).split("/")[0]);
            });
        }
        return found.toArray(new String[0]);
    }

    public InputStream open(String path) throws IOException {
        try (ZipFile zip = new ZipFile(archive)) {
            ZipEntry entry = zip.getEntry("assets/" + path);
            if (entry == null) {
                throw new FileNotFoundException(path);
            }
            return new java.io.ByteArrayInputStream(zip.getInputStream(entry).readAllBytes());
        }
    }

    public AssetFileDescriptor openFd(String path) throws IOException {
        ByteBuffer bytes = ByteBuffer.wrap(Files.readAllBytes(archive.toPath())).order(ByteOrder.LITTLE_ENDIAN);
        // The end of the archive names the place of its table, which has a row for each entry.
        int end = bytes.limit() - 22;
        int row = bytes.getInt(end + 16);
        for (int left = bytes.getShort(end + 10); left > 0; left--) {
            int nameLength = bytes.getShort(row + 28);
            String name = new String(bytes.array(), row + 46, nameLength, StandardCharsets.UTF_8);
            if (name.equals("assets/" + path)) {
                if (bytes.getShort(row + 10) != 0) {
                    throw new FileNotFoundException(
                        "This file can not be opened as a file descriptor; it is probably compressed");
                }
                int header = bytes.getInt(row + 42);
                int data = header + 30 + bytes.getShort(header + 26) + bytes.getShort(header + 28);
                return new AssetFileDescriptor(new ParcelFileDescriptor(archive), data, bytes.getInt(row + 24));
            }
            row += 46 + nameLength + bytes.getShort(row + 30) + bytes.getShort(row + 32);
        }
        throw new FileNotFoundException(path);
    }
}
