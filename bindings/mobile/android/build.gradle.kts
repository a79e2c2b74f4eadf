// The Android plug-in 9.0 needs Gradle 9.1 and a JDK 17, and brings Kotlin with it, so there is no plug-in for that.
plugins {
    id("com.android.library") version "9.0.0" apply false
    id("com.android.application") version "9.0.0" apply false
}
